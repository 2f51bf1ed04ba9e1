// @ts-check
/** What the checker found in a dataset, its languages, and its lengths in tokens. */
import { get, post } from "../api.js";
import { $, bar, data, el, recall, url } from "../dom.js";
import { findings } from "../findings.js";
import { followJob } from "../job.js";
import { busy, showProblem } from "../shell.js";
import { joined, number, percent, t } from "../words.js";

const one = data("dataset");
const base = `/api/v1/datasets/${one.name}`;
const NAMES = { zh: "Chinese", ja: "Japanese", ko: "Korean", latin: "Latin script", cyrillic: "Cyrillic", arabic: "Arabic", mixed: "mixed", other: "other" };

/** @param {any} found */
function draw(found) {
  if (found.job) {
    followJob($("#groups"), found.job, t("Checking {name}", { name: one.name }), () => get(`${base}/checks`).then(draw).catch(showProblem));
    return;
  }
  const said = found.ok ? t(found.groups.length ? "A run can start." : "No problems found: a run can start.") : "";
  const head = el("p", {}, t("{rows} rows, {good} usable.", { rows: number(found.rows), good: number(found.good) }), said && " ", said);
  const parts = [head, ...findings(found.groups, (row) => url(`/datasets/${one.name}?tab=rows&row=${row}`))];
  if (found.only_rows) parts.splice(1, 0, el("div", {}, el("button", { type: "button", class: "btn", onclick: skip }, t("Skip bad lines ({n})", { n: number(found.bad) }))));
  if (one.blanks.length) parts.push(el("div", {}, el("a", { class: "btn sm", href: url(`/datasets/${one.name}`) }, t("Fill in"))));
  $("#groups").replaceChildren(...parts);
  const total = Object.values(found.languages).reduce((sum, count) => sum + count, 0);
  $("#languages").replaceChildren(...Object.entries(found.languages).flatMap(([name, count]) =>
    [el("dt", {}, t(NAMES[/** @type {"zh"} */ (name)] ?? name)), el("dd", {}, `${number(count)} · ${percent(count / total)}`)]));
}

/** @param {any} event */
async function skip(event) {
  try {
    const made = await busy(event.currentTarget, post(`${base}/skip-bad`));
    location.assign(url(`/datasets/${made.name}?tab=checks`));
  } catch (problem) {
    showProblem(problem);
  }
}

async function lengths() {
  const { model, template, max_length, loss_on } = recall("looking") ?? {};
  try {
    const found = await get(`${base}/statistics`, { model, template, max_length, loss_on });
    const most = Math.max(...found.histogram.map((/** @type {any} */ each) => each.rows));
    const lines = found.histogram.map((/** @type {any} */ each) => {
      const name = t("from {a} to {b}", { a: number(each.from), b: number(each.to) });
      return el("tr", { class: each.to > found.max_length ? "over" : null }, el("td", { class: "r" }, `${number(each.from)}–${number(each.to)}`),
        el("td", {}, bar(each.rows, most, name)), el("td", { class: "r" }, number(each.rows)));
    });
    const { p50, p95, max } = found.length;
    $("#lengths").replaceChildren(
      el("p", { class: "small" }, t("{tokens} tokens, {share} trained", { tokens: number(found.tokens), share: percent(found.trained_share) })),
      el("table", { class: "hist" }, el("caption", { class: "unseen" }, t("Rows by length")), el("tbody", {}, ...lines)),
      el("p", { class: "small muted" }, t("median {p50}, 95 % up to {p95}, longest {max}", { p50: number(p50), p95: number(p95), max: number(max) })),
      found.truncated ? el("div", { class: "note warn" }, `${t("longer than {n}: would be truncated", { n: number(found.max_length) })}: ${number(found.truncated)}`) : "");
  } catch (/** @type {any} */ problem) {
    if (problem.detail === undefined) throw problem;
    $("#lengths").replaceChildren(el("p", { class: "muted small" }, joined(problem.detail, problem.fix)));
  }
}

$("#again").addEventListener("click", async () => {
  try {
    draw(await busy($("#again"), post(`${base}/checks`)));
  } catch (problem) {
    showProblem(problem);
  }
});
get(`${base}/checks`).then(draw).then(lengths).catch(showProblem);
