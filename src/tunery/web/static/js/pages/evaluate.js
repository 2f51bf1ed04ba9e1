// @ts-check
/** Evaluate: start an evaluation, follow it, show its table. */
import { get, post } from "../api.js";
import { $, $$, badge, bar, data, el, url } from "../dom.js";
import { showProblem } from "../shell.js";
import { joined, number, percent, t } from "../words.js";

const LIVE = ["queued", "running"];
let { job } = data("evaluate-data");
/** @type {{run: string, rows: number, data: string[]}[]} */
const runs = data("evaluate-data").runs;
const words = { queued: "Queued", running: "Running", done: "Done", failed: "Failed", stopped: "Stopped", interrupted: "Interrupted" };

function draw() {
  if (!job) return;
  const { progress } = job;
  const lines = [el("div", { class: "cardhead" }, el("h2", {}, job.title), badge(job.status, t(words[/** @type {keyof typeof words} */ (job.status)] ?? job.status)),
    el("div", { class: "actions" },
      LIVE.includes(job.status) ? el("button", { type: "button", class: "btn sm danger", onclick: () => post(`/api/v1/jobs/${job.id}/stop`).then(look, showProblem) }, t("Stop")) : null,
      job.result ? el("a", { class: "btn sm", href: url(`/api/v1/evals/${job.id}/table.csv`), download: "" }, t("Download CSV")) : null))];
  if (LIVE.includes(job.status)) {
    lines.push(bar(progress.total ? progress.done : null, progress.total, job.title),
      el("p", { class: "small muted" }, progress.total ? t("{n} of {total} rows", { n: progress.done, total: progress.total }) : job.said || t("starting…")));
  }
  if (job.reason) lines.push(el("div", { class: "note bad" }, joined(job.reason, job.fix)));
  if (job.result) lines.push(models(job.result), table(job.result));
  $("#result").replaceChildren(el("section", { class: "card", "aria-label": t("Result"), dataset: { status: job.status } }, ...lines));
}

/** @param {any} result */
function models(result) {
  const best = Math.min(...result.models.map((/** @type {any} */ one) => one.loss ?? Infinity));
  return el("div", { class: "scroll" }, el("table", { id: "models" },
    el("caption", { class: "unseen" }, t("Results")),
    el("thead", {}, el("tr", {}, ...["Model", "Loss", "Perplexity", "ROUGE-L", "Exact", "Rows"].map((word, i) => el("th", { scope: "col", class: i ? "r" : "" }, t(word))))),
    el("tbody", {}, ...result.models.map((/** @type {any} */ one) => el("tr", {},
      el("th", { scope: "row" }, one.name),
      el("td", { class: "r" }, one.loss === best ? el("b", {}, number(one.loss, 4)) : number(one.loss, 4)),
      el("td", { class: "r" }, number(one.perplexity, 2)), el("td", { class: "r" }, number(one.rouge_l, 3)),
      el("td", { class: "r" }, percent(one.exact)), el("td", { class: "r" }, number(one.num_rows)))))));
}

/** @param {any} result */
function table(result) {
  const names = result.models.map((/** @type {any} */ one) => one.name);
  return el("div", {}, el("p", { class: "small muted" }, t("Worst first")), el("div", { class: "scroll" }, el("table", { id: "rows" },
    el("caption", { class: "unseen" }, t("Worst first")),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, t("Prompt")), el("th", { scope: "col" }, t("Expected")),
      ...names.flatMap((/** @type {string} */ name) => [el("th", { scope: "col" }, name), el("th", { scope: "col", class: "r" }, t("Loss"))]))),
    el("tbody", {}, ...result.rows.map((/** @type {any} */ row) => el("tr", {}, el("td", {}, row.prompt), el("td", {}, row.expected),
      ...names.flatMap((/** @type {string} */ name) => [el("td", {}, row.answers[name] ?? "–"), el("td", { class: "r" }, number(row.losses[name], 3))])))))));
}

// --- whose rows: those that the chosen run was not trained on, until the user chooses ----------

const rowsOf = /** @type {HTMLSelectElement} */ ($("#rows-of"));
let chosenByUser = false;

/** The runs among the chosen models. */
function chosenRuns() {
  const names = $$('[name="models"]:checked').map((box) => box.value.split("@")[0]);
  return runs.filter((run) => names.includes(run.run)).sort((a, b) => names.indexOf(a.run) - names.indexOf(b.run));
}

function explain() {
  const [kind, ...rest] = rowsOf.value.split(":");
  const name = rest.join(":");
  const trained = chosenRuns().find((run) => kind === "dataset" && run.data.includes(name));
  const without = chosenRuns().find((run) => !kind && !run.rows);
  const own = runs.find((run) => kind === "run" && run.run === name);
  let text = kind || without ? "" : t("Choose a run's held-out rows, or a dataset.");
  if (own) text = t("{n} rows that {run} was not trained on. Other models may have seen them.", { n: own.rows, run: name });
  else if (trained) text = t("{run} was trained on these rows: its loss here says little about new ones.", { run: trained.run });
  else if (without) text = t("{run} has no held-out rows. Choose rows that it was not trained on; evaluate.split above 0 holds some out.", { run: without.run });
  $("#rows-of-help").textContent = text;
}

$("#evaluate").addEventListener("change", (/** @type {any} */ event) => {
  if (event.target === rowsOf) chosenByUser = true;
  else if (event.target.name === "models" && !chosenByUser) {
    const own = chosenRuns().find((run) => run.rows);
    rowsOf.value = own ? `run:${own.run}` : "";
  }
  $("#rows-of-error").textContent = "";
  explain();
});

async function look() {
  job = await get(`/api/v1/jobs/${job.id}`);
  draw();
}

let timer = 0;
function watch() {
  clearTimeout(timer);
  if (!job || !LIVE.includes(job.status)) return;
  timer = window.setTimeout(async () => {
    await look().catch(() => undefined); // retried in a second
    watch();
  }, 1000);
}

$("#evaluate").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const asked = new FormData(/** @type {HTMLFormElement} */ (event.target));
  const [kind, ...rest] = String(asked.get("rows_of")).split(":");
  $("#models-error").textContent = "";
  if (!kind) {
    $("#rows-of-error").textContent = t("Choose a run's held-out rows, or a dataset.");
    return rowsOf.focus();
  }
  try {
    job = await post("/api/v1/evals", {
      models: asked.getAll("models"), [kind]: rest.join(":"), num_rows: Number(asked.get("num_rows")),
      max_new_tokens: Number(asked.get("max_new_tokens")), answers: asked.get("answers") === "on",
    });
    history.replaceState(null, "", `${url("/evaluate")}?job=${job.id}`);
    draw();
    watch();
  } catch (problem) {
    const said = /** @type {any} */ (problem);
    $("#models-error").textContent = joined(said.detail, said.fix);
  }
});
explain();
draw();
watch();
