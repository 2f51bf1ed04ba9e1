// @ts-check
/** One run: live charts, tabs, stop and resume, samples, log. */
import { del, get, post } from "../api.js";
import { makeChart, shortNumber, smooth, usualSmoothing } from "../chart.js";
import { Curves, formatOf } from "../curves.js";
import { marked } from "../diff.js";
import { $, $$, data, debounce, el, recall, remember, url } from "../dom.js";
import { subscribe } from "../live.js";
import { keepOn, moveParts, partsOf } from "../parts.js";
import { ask, busy, copy, showProblem, strip, toast } from "../shell.js";
import { bytes, duration, t } from "../words.js";
import { wireHeader } from "./run-header.js";
import { wireMarks } from "./run-marks.js";

const run = data("run");
const api = `/api/v1/runs/${encodeURIComponent(run.name)}`;
const curves = new Curves(run.name);
/** @type {{smoothing: number | null, axis: string, log: boolean, clip: boolean}} smoothing: null until it is chosen */
const kept = { smoothing: null, axis: "step", log: false, clip: false, ...(recall("charts") ?? {}) };

// --- charts -------------------------------------------------------------------------------

const LABELS = { step: t("Step"), epoch: t("Epoch"), tokens: t("Tokens"), time: t("Time") };
const lines = () => [
  { label: t("training"), color: "c1", faint: true, width: 1 }, { label: t("smoothed"), color: "c1", width: 2 },
  { label: t("validation"), color: "c2", dots: true }];
/** @type {Record<string, ReturnType<typeof makeChart>>} */
const charts = {
  loss: makeChart($('[data-chart="loss"] .chart'), { title: t("Loss"), series: lines() }),
  learning_rate: single("learning_rate", t("Learning rate"), "c3"),
  grad_norm: single("grad_norm", t("Gradient norm"), "c4"),
  tokens_per_second: single("tokens_per_second", t("Tokens/s"), "c6"),
  memory_bytes: single("memory_bytes", t("Memory"), "c5", bytes),
};

/** @param {string} key @param {string} title @param {string} color @param {(value: number) => string} [format] */
function single(key, title, color, format = shortNumber) {
  return makeChart($(`[data-chart="${key}"] .chart`), { title, series: [{ label: title, color, width: 1.5 }], format });
}

/** One chart per measure that the run declares, before the charts that every run has. */
function chartMeasures() {
  for (const measure of curves.measures) {
    if (charts[measure.name] || !measure.chart) continue;
    const box = el("div", { class: "chart" });
    const unit = measure.unit && measure.unit !== "%" ? ` (${measure.unit})` : "";
    $("#measures").append(el("figure", { class: "chartbox", hidden: true, dataset: { chart: measure.name } }, el("figcaption", {}, measure.label + unit), box));
    charts[measure.name] = makeChart(box, { title: measure.label, series: lines(), format: formatOf(measure) });
  }
  $("#measures").hidden = !$("#measures").childElementCount;
}

/** @param {number} points */
const smoothing = (points) => kept.smoothing ?? usualSmoothing(points);

function drawCharts() {
  $("#smoothing").value = smoothing(curves.points("loss", kept.axis).mean.length);
  chartMeasures();
  const { axis } = kept;
  const xLabel = LABELS[/** @type {keyof typeof LABELS} */ (axis)];
  const isTime = axis === "time";
  const markers = curves.checkpoints.map((step) => curves.across(axis, step));
  for (const [key, chart] of Object.entries(charts)) {
    const { x, value, mean } = curves.points(key, axis);
    const measured = key === "loss" || curves.measures.some(({ name }) => name === key);
    const [at, held] = measured ? curves.heldOut(key, axis) : [[], []];
    $(`[data-chart="${CSS.escape(key)}"]`).hidden = !x.length && !at.length;
    const end = axis === "step" ? Number($("[data-steps]")?.dataset.steps) : 0;
    if (!measured && x.length) chart.set({ x, ys: [value], xLabel, isTime, end });
    else if (x.length || at.length) chart.set({ ...joined([x, value, smooth(mean, smoothing(mean.length))], [at, held]), xLabel, isTime, end, markers: key === "loss" ? markers : [] });
  }
  $("#no-points").hidden = charts.loss.points().x.length > 0;
  if (!$("#loss-table").hidden) drawTable();
}

/** @param {any[]} trained @param {any[]} evaluated */
function joined(trained, evaluated) {
  // @ts-ignore: uPlot is the vendored script
  const [x, ...ys] = uPlot.join([trained, evaluated]);
  return { x, ys };
}

function lossRows() {
  const { x, ys } = charts.loss.points();
  return x.map((at, i) => [at, ys[0][i], ys[1][i], ys[2][i]]);
}

function drawTable() {
  const rows = lossRows();
  const stride = Math.max(1, Math.ceil(rows.length / 200));
  const shown = rows.filter((row, i) => i % stride === 0 || i === rows.length - 1 || (row[3] ?? null) !== null);
  const cell = (/** @type {any} */ v) => el("td", { class: "r" }, v === null || v === undefined ? "–" : String(Number(v.toPrecision(5))));
  const heads = [LABELS[/** @type {"step"} */ (kept.axis)], t("training"), t("smoothed"), t("validation")];
  $("#loss-table").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col", class: "r" }, text)))),
    el("tbody", {}, ...shown.map((row) => el("tr", {}, ...row.map(cell))))));
}

/** @param {Blob} blob @param {string} name */
function download(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 5000);
}

function saveCsv() {
  const lines = [[kept.axis, "loss", "smoothed", "validation_loss"], ...lossRows()];
  download(new Blob([lines.map((row) => row.map((v) => v ?? "").join(",")).join("\n") + "\n"], { type: "text/csv" }), `${run.name}.csv`);
}

/** @param {Record<string, any>} change */
function prefer(change) {
  Object.assign(kept, change);
  remember("charts", kept);
}

function wireCharts() {
  $("#axis").value = kept.axis;
  $("#log-scale").checked = kept.log;
  $("#clip").checked = kept.clip;
  charts.loss.options({ log: kept.log, clip: kept.clip });
  $("#smoothing").addEventListener("input", () => { prefer({ smoothing: Number($("#smoothing").value) }); drawCharts(); });
  $("#axis").addEventListener("change", () => { prefer({ axis: $("#axis").value }); drawCharts(); });
  $("#log-scale").addEventListener("change", () => { prefer({ log: $("#log-scale").checked }); charts.loss.options({ log: kept.log }); });
  $("#clip").addEventListener("change", () => { prefer({ clip: $("#clip").checked }); charts.loss.options({ clip: kept.clip }); });
  $("#as-csv").addEventListener("click", saveCsv);
  $("#as-png").addEventListener("click", async () => download(await charts.loss.png(), `${run.name}.png`));
  $("#as-table").addEventListener("click", () => {
    const table = $("#loss-table");
    table.hidden = !table.hidden;
    $('[data-chart="loss"]').hidden = !table.hidden;
    $("#as-table").setAttribute("aria-pressed", String(!table.hidden));
    $("#as-table").textContent = t(table.hidden ? "Show as table" : "Show the chart");
    if (!table.hidden) drawTable();
  });
}

// --- tabs ---------------------------------------------------------------------------------

/** @param {string} key */
function openTab(key) {
  for (const tab of $$(".tabs [data-tab]")) tab.toggleAttribute("aria-current", false);
  $(`.tabs [data-tab="${key}"]`).setAttribute("aria-current", "page");
  for (const panel of $$("[data-panel]")) panel.hidden = panel.dataset.panel !== key;
  history.replaceState(null, "", key === "charts" ? location.pathname : `?tab=${key}`);
  if (key === "log") readLog();
  if (key === "samples") markSamples();
}

// --- samples ------------------------------------------------------------------------------

function markSamples() {
  for (const sample of $$(".sample")) showAnswer(sample);
}

/** @param {HTMLElement} sample */
function showAnswer(sample) {
  const answers = $$("[data-answer]", sample);
  const at = sample.querySelector("[data-scrub]");
  const chosen = answers[at ? Number(/** @type {HTMLInputElement} */ (at).value) : answers.length - 1];
  if (!chosen) return;
  const text = chosen.content.textContent ?? "";
  const before = $("[data-before]", sample).textContent;
  $("[data-at]", sample).textContent = chosen.dataset.step;
  $("[data-after] ~ [data-limit]", sample).hidden = chosen.dataset.cut === undefined;
  const pieces = $("#mark").checked ? marked(text, before) : [{ text, differs: false }];
  $("[data-after]", sample).replaceChildren(...pieces.map((piece) => (piece.differs ? el("mark", {}, piece.text) : piece.text)));
}

// --- log ----------------------------------------------------------------------------------

let logAt = 0;
let eventsAt = 0;
let logRead = false;
let level = "";
const ERROR = /^Traceback |^[\w.]*(Error|Exception|Exit)\b|\b(ERROR|CRITICAL|FATAL)\b/; // not the word in a sentence
const WARNING = /\w*Warning\b|\bWARN(ING)?\b|^!/;

const readLog = debounce(150, async () => {
  if ($('[data-panel="log"]').hidden) return;
  const answer = await get(`${api}/log`, { after: logAt, events_after: eventsAt }).catch(() => null);
  if (!answer) return;
  const box = $("#log");
  if (!logRead) box.replaceChildren(el("div", { id: "log-events" }), el("div", { id: "log-lines" }));
  const [events, lines] = box.children;
  answer.events.forEach((/** @type {string} */ text, /** @type {number} */ i) => {
    const time = new Date(answer.times[i] * 1000);
    events.append(el("div", { class: "event", dataset: { level: "event" } }, el("time", { datetime: time.toISOString(), title: time.toLocaleString() }, time.toTimeString().slice(0, 8)), ` ${text}`));
  });
  eventsAt = answer.seq;
  if (answer.lines.length && !lines.childElementCount) {
    // the lines have no times, so they cannot stand between the events
    lines.append(el("div", { class: "event logpart" }, t("Output of the worker process")), answer.cut ? el("div", { class: "event" }, t("Earlier lines are in the log file.")) : "");
  }
  logAt = answer.cursor;
  logRead = true;
  for (const line of answer.lines) lines.append(logLine(line));
  if (!events.childElementCount && !lines.childElementCount) events.append(el("div", { class: "event" }, t("The log is empty.")));
  for (const part of [events, lines]) while (part.childElementCount > 5000) /** @type {Element} */ (part.firstElementChild).remove();
  sift();
  if ($("#follow").checked) box.scrollTop = box.scrollHeight;
});

/** @param {string} line */
function logLine(line) {
  const kind = ERROR.test(line) ? "error" : WARNING.test(line) ? "warn" : "plain";
  return el("div", { class: kind, dataset: { level: kind } }, line);
}

function sift() {
  const words = $("#log-search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const line of $$("#log > div > div")) {
    const text = line.textContent.toLowerCase();
    line.hidden = (level && line.dataset.level !== level) || !words.every((/** @type {string} */ word) => text.includes(word));
  }
}

function wireLog() {
  $("#log-search").addEventListener("input", debounce(120, sift));
  for (const chip of $$("[data-level].chip")) {
    chip.addEventListener("click", () => {
      level = chip.dataset.level;
      for (const other of $$("[data-level].chip")) other.setAttribute("aria-pressed", String(other === chip));
      sift();
    });
  }
  const box = $("#log");
  box.addEventListener("wheel", () => { $("#follow").checked = box.scrollTop + box.clientHeight >= box.scrollHeight - 30; }, { passive: true });
  $("#follow").addEventListener("change", () => { if ($("#follow").checked) box.scrollTop = box.scrollHeight; });
}

// --- actions ------------------------------------------------------------------------------

/** @param {MouseEvent} event */
async function onClick(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  const button = /** @type {HTMLElement | null} */ (target.closest("[data-stop], [data-save], [data-resume], [data-report], [data-tab]"));
  if (!button) return;
  if (button.dataset.tab) {
    event.preventDefault();
    openTab(button.dataset.tab);
    return;
  }
  await act(button).catch(showProblem);
  refresh();
}

/** @param {HTMLElement} button */
async function act(button) {
  const { stop } = button.dataset;
  if (stop === "now" && !(await ask(button, t("Stop now? Progress since the last checkpoint will be lost."), t("Stop now")))) return;
  if (stop) {
    await busy(button, post(`${api}/stop`, { how: stop }));
    toast(t(stop === "now" ? "Stopped." : "Stopping: saving first."));
  } else if ("save" in button.dataset) {
    await busy(button, post(`${api}/save`));
    toast(t("A checkpoint will be saved after this step."));
  } else if ("resume" in button.dataset) {
    const { step } = await busy(button, post(`${api}/resume`, {}));
    toast(t("Run resumed from step {step}.", { step }));
  } else {
    const answer = await fetch(url(`${api}/report`), { credentials: "same-origin" });
    await copy(await answer.text());
  }
  for (const menu of $$("details.menu[open]")) menu.open = false;
}

// --- start --------------------------------------------------------------------------------

moveParts();
keepOn();
/** Seconds of a phase that goes on, counted here between the messages of the run. */
setInterval(() => {
  for (const each of $$("[data-since]")) {
    each.dataset.began ??= String(Date.now() - 1000 * Number(each.dataset.since));
    each.textContent = duration((Date.now() - Number(each.dataset.began)) / 1000);
  }
}, 1000);
const refresh = partsOf(`/runs/${encodeURIComponent(run.name)}/-/parts`, () => {
  if (!$('[data-panel="samples"]').hidden) markSamples();
});

let queue = Promise.resolve();
/** @param {any} message */
function onMessage(message) {
  if (message.kind === "removed") {
    strip("gone", t("This run has been deleted."), { label: t("All runs"), act: () => location.assign(url("/runs")) });
    return;
  }
  // One after the other: a message that fetches data must not be overtaken by the next one.
  queue = queue.then(async () => { if (await curves.take(message)) drawCharts(); }).catch(showProblem);
  refresh();
  readLog();
}

wireCharts();
wireLog();
wireMarks(api);
document.addEventListener("click", onClick);
document.addEventListener("confirmed", async (/** @type {any} */ event) => {
  const step = event.target.dataset.checkpoint;
  if (step === undefined) return;
  await del(`${api}/checkpoints/${step}`).then(({ bytes: freed }) => toast(t("Deleted; {size} freed.", { size: bytes(freed) })), showProblem);
  refresh();
});
document.addEventListener("input", (event) => {
  const scrub = /** @type {HTMLElement} */ (event.target).closest("[data-scrub]");
  if (scrub) showAnswer(/** @type {HTMLElement} */ (scrub.closest(".sample")));
});
$("#mark").addEventListener("change", markSamples);
wireHeader(api, run.name, openTab);
$("#only-changed").addEventListener("change", () => {
  for (const row of $$("#settings tr[data-default]")) row.hidden = $("#only-changed").checked;
});
markSamples();
readLog();
curves.load().catch(showProblem).then(() => {
  drawCharts();
  subscribe(`run:${run.name}`, curves.cursor, onMessage);
});
