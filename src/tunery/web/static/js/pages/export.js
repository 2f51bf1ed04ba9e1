// @ts-check
/** Export & Serve: start exports, follow them, enable models for /v1. */
import { del, get, post } from "../api.js";
import { baseWanted } from "../base-model.js";
import { $, badge, bar, data, el, fieldError, url } from "../dom.js";
import { busy, showProblem } from "../shell.js";
import { bytes, joined, t } from "../words.js";

const given = data("export-data");
const LIVE = ["queued", "running", "paused"];
const words = { queued: "Queued", running: "Running", paused: "Paused", done: "Done", failed: "Failed", stopped: "Stopped", interrupted: "Interrupted" };
let listed = given.jobs;

/** @param {any} job */
function card(job) {
  const report = job.result?.report;
  const lines = [el("div", { class: "cardhead" }, el("h2", {}, job.title), badge(job.status, t(words[/** @type {keyof typeof words} */ (job.status)] ?? job.status)),
    LIVE.includes(job.status) ? el("div", { class: "actions" }, el("button", { type: "button", class: "btn sm danger", onclick: () => post(`/api/v1/jobs/${job.id}/stop`).then(refresh, showProblem) }, t("Stop"))) : null)];
  if (LIVE.includes(job.status)) lines.push(...stage(job));
  if (job.reason) lines.push(el("div", { class: "note bad" }, joined(job.reason, job.fix)));
  if (report) lines.push(...result(job, report));
  return el("section", { class: "card", "aria-label": job.title, dataset: { job: job.id, status: job.status } }, ...lines);
}

/** What an export is doing, and how far that is. @param {any} job */
function stage(job) {
  const { text, done, total } = job.progress;
  const said = text && total ? t("{what}: {done} of {n}", { what: text, done, n: total }) : text;
  return [bar(total ? done : null, total || 1, job.title), el("p", { class: "small muted" }, said || job.said || t("starting…"))];
}

/** @param {any} job @param {any} report */
function result(job, report) {
  const { parity } = report;
  const folder = job.result.folder;
  const counts = { same: parity.same_answers, count: parity.num_prompts, ties: parity.near_ties };
  const matches = parity.near_ties
    ? t("The export matches within rounding: {same} of {count} answers are identical, {ties} diverge where two tokens were almost equally likely.", counts)
    : t("The export matches: {same} of {count} answers are identical.", counts);
  const detail = t("In {dtype}, logits differ by at most {x} and the next-token distribution by {kl} nats on average.",
    { dtype: report.dtype, x: Number(parity.max_logit_difference).toPrecision(2), kl: Number(parity.mean_kl).toPrecision(2) });
  const before = report.quantized_base;
  const moved = before && t("The base was quantized to {quantization} in training and is unquantized here: {same} of {count} answers are identical, and the next-token distribution differs by {kl} nats on average.",
    { quantization: before.quantization, same: before.same_answers, count: before.num_prompts, kl: Number(before.mean_kl).toPrecision(2) });
  return [
    el("div", { class: "note ok" }, `✓ ${joined(matches, detail)}`),
    moved ? el("div", { class: "note" }, moved) : null,
    el("dl", { class: "kv" }, el("dt", {}, t("Folder")), el("dd", { class: "mono" }, folder), el("dt", {}, t("Size")), el("dd", {}, bytes(job.result.size_bytes))),
    copybox(job.code, t("Usage")),
    el("div", { class: "actions" }, el("a", { class: "btn sm", href: url(`/chat?a=${encodeURIComponent(folder)}`) }, t("Chat"))),
  ];
}

/** @param {string} text @param {string} label */
const copybox = (text, label) => el("div", { class: "copybox" }, el("pre", { tabindex: 0, "aria-label": label }, text), el("button", { type: "button", class: "btn sm", "data-copy": "" }, t("Copy")));

function draw() {
  $("#exports").replaceChildren(...listed.map(card));
}

async function refresh() {
  listed = (await get("/api/v1/exports")).jobs.slice(0, 8);
  draw();
}

let timer = 0;
function watch() {
  clearTimeout(timer);
  if (!listed.some((/** @type {any} */ job) => LIVE.includes(job.status))) return;
  timer = window.setTimeout(async () => {
    await refresh().catch(() => undefined); // retried in a second
    watch();
  }, 1000);
}

const form = document.querySelector("form#export");
if (form instanceof HTMLFormElement) {
  const suggest = async () => {
    const asked = new FormData(form);
    const answer = await get("/api/v1/exports", { run: asked.get("run"), to: asked.get("to") });
    $('[name="folder"]', form).value = answer.folder;
  };
  for (const name of ["run", "to"]) for (const control of form.querySelectorAll(`[name="${name}"]`)) control.addEventListener("change", () => suggest().catch(showProblem));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fieldError("folder", "");
    const asked = new FormData(form);
    $("#start-export").disabled = true;
    try {
      const job = await post("/api/v1/exports", { run: asked.get("run"), to: asked.get("to"), dtype: asked.get("dtype"), folder: asked.get("folder"), force: asked.get("force") === "on" });
      listed = [job, ...listed];
      draw();
      watch();
    } catch (problem) {
      const said = /** @type {any} */ (problem);
      if (baseWanted(said)) showProblem(said);
      else fieldError("folder", joined(said.detail, said.fix));
    } finally {
      $("#start-export").disabled = false;
    }
  });
}

let served = given.served;
let key = "YOUR_KEY"; // a key is shown only when it is created
function drawServed() {
  $("#served").replaceChildren(...(served.length ? served.map((/** @type {any} */ one) => el("li", {},
    el("span", { class: "grow" }, el("b", {}, one.name), one.model !== one.name ? el("span", { class: "muted" }, ` · ${one.model}`) : null),
    el("button", { type: "button", class: "btn sm danger", "aria-label": `${t("Stop serving")} ${one.name}`, onclick: async () => {
      await del(`/api/v1/serving/${encodeURIComponent(one.name)}`).catch(showProblem);
      served = await get("/api/v1/serving");
      drawServed();
    } }, t("Stop serving")))) : [el("li", { class: "muted" }, t("No models are served yet."))]));
  $("#snippets").hidden = !served.length;
  if (!served.length) return;
  const { name } = served[0];
  $("#curl").textContent = `curl ${given.base_url}/chat/completions \\\n  -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" \\\n  -d '{"model": "${name}", "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 200, "temperature": 0}'`;
  $("#python").textContent = `from openai import OpenAI\n\nclient = OpenAI(base_url="${given.base_url}", api_key="${key}")\nanswer = client.chat.completions.create(\n    model="${name}", messages=[{"role": "user", "content": "Who are you?"}],\n    max_tokens=200, temperature=0)\nprint(answer.choices[0].message.content)`;
}
$("#serve").addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  try {
    await post("/api/v1/serving", { model: $("#serve-model").value });
    served = await get("/api/v1/serving");
    drawServed();
  } catch (problem) {
    showProblem(/** @type {any} */ (problem));
  }
});
$("#make-key").addEventListener("click", () => busy($("#make-key"), post("/api/v1/keys", { name: t("for {model}", { model: served[0].name }).slice(0, 80) })).then((made) => {
  ({ key } = made);
  $("#key-line").hidden = true;
  $("#key-made").hidden = false;
  drawServed();
}).catch(showProblem));
draw();
drawServed();
watch();
