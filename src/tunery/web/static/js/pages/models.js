// @ts-check
/** Models: the box that resolves names as you type, the folder picker, downloads, removal. */
import { del, get, post, put } from "../api.js";
import { $, $$, announce, badge, bar, data, debounce, el, url } from "../dom.js";
import { subscribe } from "../live.js";
import { remedyButtons } from "../remedies.js";
import { ask, busy, showProblem, statusWord, toast } from "../shell.js";
import { makeList } from "../table.js";
import { bytes, duration, joined, number, t } from "../words.js";
import { wireSearch } from "./models-search.js";

makeList($("#models"), { search: /** @type {HTMLInputElement | null} */ (document.getElementById("find")) });

// --- the box ------------------------------------------------------------------------------

const box = $("#f-text");
const source = $("#f-source");
const button = $("#add-button");
const place = $("#answer");
/** @type {AbortController | null} */
let asking = null;
/** @type {any} */
let found = null;

/** @param {any} answer */
function sentence(answer) {
  const facts = answer.facts ?? {};
  if (answer.kind === "hub" && facts.num_files) {
    const parts = [t("{size} to download in {n} files from {host}.", { size: bytes(facts.fetch_bytes), n: facts.num_files, host: facts.host })];
    if (facts.licence) parts.push(t("license: {licence}", { licence: facts.licence }));
    if (facts.free_bytes < facts.fetch_bytes * 1.05) parts.push(t("Not enough space: {free} free.", { free: bytes(facts.free_bytes) }));
    return parts.join(" · ");
  }
  if (facts.num_parameters) {
    const size = t("{n} parameters", { n: number(facts.num_parameters) });
    return [t("Already downloaded: {why}.", { why: answer.text }), size, bytes(facts.size_bytes)].join(" · ");
  }
  return facts.fetch_bytes ? `${answer.text} ${bytes(facts.fetch_bytes)}` : answer.text;
}

/** @param {any} action */
function actionButton({ action, target }) {
  const path = encodeURIComponent(target);
  switch (action) {
    case "try": return el("a", { class: "btn sm", href: url(`/chat?a=${path}`) }, t("Try it"));
    case "train": return el("a", { class: "btn sm", href: url(`/train?model=${path}`) }, t("Train"));
    case "allow": return el("a", { class: "btn sm", href: url(`/models/${target}`) }, t("Review code"));
    case "token": return el("button", { type: "button", class: "btn sm", onclick: showToken }, t("Enter a token"));
    default: {
      const label = action === "resume" ? t("Resume download") : action === "import" ? t("Import") : t("Download");
      return el("button", { type: "button", class: "btn sm", onclick: () => fetchModel(target).catch(showProblem) }, label);
    }
  }
}

const FETCHES = ["download", "import", "resume"];
/** What Add would download. */
const wanted = () => found?.actions.find((/** @type {any} */ a) => FETCHES.includes(a.action));
/** Whether the text is the path of a complete model here, which Add keeps in the list. */
const isFolder = () => Boolean(found?.ok && found.path && /^[/~]/.test(box.value.trim()));

/** @param {any} answer */
function show(answer) {
  found = answer;
  button.disabled = !wanted() && !isFolder();
  $("#token-form").hidden = true;
  if (answer.kind === "empty") return place.replaceChildren();
  const parts = [];
  if (answer.text) parts.push(el("p", { class: "wrap" }, sentence(answer)));
  for (const problem of answer.problems) {
    const page = /^https?:\/\//.test(problem.page) ? el("a", { href: problem.page, target: "_blank", rel: "noreferrer" }, t("Accept the license")) : null;
    parts.push(el("p", { class: "wrap" }, joined(problem.text, problem.fix), " ", page), remedyButtons(problem, look));
  }
  const actions = answer.actions.map(actionButton);
  if (actions.length) parts.push(el("div", { class: "actions" }, ...actions));
  const kind = answer.ok ? (answer.problems.length ? "warn" : "ok") : "warn";
  place.replaceChildren(el("div", { class: `note ${kind}` }, ...parts.filter(Boolean)));
}

async function look() {
  asking?.abort();
  asking = new AbortController();
  const mine = asking;
  try {
    const answer = await post("/api/v1/resolve", { text: box.value, source: source.value }, { signal: mine.signal });
    if (mine === asking) show(answer);
  } catch (/** @type {any} */ problem) {
    if (problem.name !== "AbortError") showProblem(problem);
  }
}

const lookSoon = debounce(250, look);
box.addEventListener("input", () => {
  button.disabled = true;
  lookSoon();
});
source.addEventListener("change", look);
const searchAgain = wireSearch(() => source.value, (name) => {
  box.value = name;
  look();
  box.focus();
});
source.addEventListener("change", searchAgain);
if (box.value) look();

function showToken() {
  $("#token-form").hidden = false;
  $("#f-token").focus();
}

$("#token-form").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  try {
    await put("/api/v1/downloads/token", { source: source.value, token: $("#f-token").value });
    $("#f-token").value = "";
    toast(t("Token saved."));
    await look();
  } catch (problem) {
    showProblem(problem);
  }
});

/** @param {string} name */
async function fetchModel(name) {
  draw(await post("/api/v1/downloads", { name, source: source.value }));
  box.value = "";
  show({ kind: "empty", actions: [] });
}

$("#add-form").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const fetched = wanted();
  if (fetched) busy(button, fetchModel(fetched.target)).then(() => (button.disabled = true)).catch(showProblem);
  else if (isFolder()) busy(button, post("/api/v1/models/folders", { name: box.value.trim() })).then(() => location.assign(url("/models")), showProblem);
});
for (const each of $$("[data-get]")) each.addEventListener("click", () => busy(each, fetchModel(each.dataset.get)).catch(showProblem));

// --- the folder picker --------------------------------------------------------------------

const picker = $("#picker");
let folder = "";

/** @param {string} path */
async function browse(path) {
  const listing = await get("/api/v1/models/browse", { path });
  folder = listing.path;
  $("#picker-path").textContent = listing.path;
  $("#picker-use").disabled = !listing.path;
  const line = (/** @type {string} */ label, /** @type {() => void} */ act, /** @type {boolean} */ marked) =>
    el("li", {}, el("button", { type: "button", class: "btn ghost sm", onclick: act }, label), marked ? badge("ok", t("model")) : null);
  const lines = listing.entries.map((/** @type {any} */ e) => line(e.name, () => (e.is_file ? pick(e.path) : browse(e.path).catch(showProblem)), e.is_model));
  if (listing.parent !== null) lines.unshift(line(`↑ ${t("Up")}`, () => browse(listing.parent).catch(showProblem), false));
  if (!listing.entries.length) lines.push(el("li", { class: "muted small" }, t("No folders here.")));
  $("#picker-list").replaceChildren(...lines);
}

/** @param {string} path */
function pick(path) {
  picker.close();
  box.value = path;
  look();
  box.focus();
}

$("#browse").addEventListener("click", () => browse("").then(() => picker.showModal()).catch(showProblem));
$("#picker-use").addEventListener("click", () => pick(folder));
$("#picker-cancel").addEventListener("click", () => picker.close());

// --- downloads ----------------------------------------------------------------------------

/** @param {any} job */
function said(job) {
  const p = job.progress;
  if (job.status === "queued") return job.reason || t("Queued");
  if (job.status !== "running") return joined(job.reason, job.fix);
  switch (p.phase) {
    case "waiting": return t("waiting for the network; retrying in {n} s", { n: Math.max(0, Math.round(p.retry_at - Date.now() / 1000)) });
    case "verifying": return `${t("checking")} ${p.text}`;
    case "converting": return t("converting for {time}; takes about half a minute in total", { time: duration(p.seconds ?? 0) });
    case "fetching": return t("{file} · {done} of {n} files", { file: p.text, done: p.files_done ?? 0, n: p.num_files ?? 0 });
    default: return t("starting…");
  }
}

/** @param {any} job */
function figures(job) {
  const p = job.progress;
  if (!p.total || (p.phase === "converting" && !p.done)) return "";
  const parts = [t("{done} of {total}", { done: bytes(p.done), total: bytes(p.total) })];
  if (job.status === "running" && p.rate) parts.push(t("{rate}/s", { rate: bytes(p.rate) }));
  if (job.status === "running" && p.eta_seconds) parts.push(t("{time} left", { time: duration(p.eta_seconds) }));
  return parts.join(" · ");
}

/** @param {any} job @param {string} verb @param {string} label */
const does = (job, verb, label) => el("button", {
  type: "button", class: "btn sm", "aria-label": `${label}: ${job.title}`,
  onclick: (/** @type {any} */ event) => busy(event.currentTarget, post(`/api/v1/downloads/${job.id}/${verb}`, {}).then(draw)).catch(showProblem),
}, label);

/** @param {any} job */
async function giveUp(job, /** @type {HTMLElement} */ from) {
  if (!(await ask(from, t("Cancel the download of {name} and delete the partial files ({size})?", { name: job.title, size: bytes(job.progress.done ?? 0) }), t("Cancel download")))) return;
  await post(`/api/v1/downloads/${job.id}/cancel`, {});
  document.getElementById(`job-${job.id}`)?.remove();
  $("#downloads").hidden = !$("#downloads").childElementCount;
}

/** @param {any} job */
function draw(job) {
  if (job.kind !== "download") return;
  const id = `job-${job.id}`;
  const before = document.getElementById(id);
  if (job.status === "done" || job.status === "stopped") {
    if (before && job.status === "done") {
      announce(t("{name} is ready.", { name: job.title }));
      location.reload();
    }
    before?.remove();
    $("#downloads").hidden = !$("#downloads").childElementCount;
    return;
  }
  if (before?.querySelector(".ask")) return; // the user is answering a question
  const live = ["running", "queued"].includes(job.status);
  const buttons = [
    job.status === "running" ? does(job, "pause", t("Pause")) : null,
    live ? null : does(job, "resume", job.status === "failed" ? t("Try again") : t("Resume")),
    el("button", { type: "button", class: "btn sm", "aria-label": `${t("Cancel")}: ${job.title}`, onclick: (/** @type {any} */ e) => giveUp(job, e.currentTarget).catch(showProblem) }, t("Cancel")),
  ].filter(Boolean);
  const progress = bar(job.progress.done ?? null, job.progress.total ?? 1, t("Progress of {name}", { name: job.title }));
  if (live && (!job.progress.total || (job.progress.phase === "converting" && !job.progress.done))) progress.removeAttribute("value");
  const page = /^https?:\/\//.test(job.error?.page ?? "") ? el("a", { href: job.error.page, target: "_blank", rel: "noreferrer" }, t("Accept the license")) : null;
  const gated = job.error?.code === "gated" ? el("button", { type: "button", class: "btn sm", onclick: showToken }, t("Enter a token")) : null;
  const card = el("section", { class: "card", id, "aria-label": job.title },
    el("div", { class: "row" },
      el("div", { class: "row" }, el("b", { class: "wrap" }, job.title), el("span", { class: "small muted" }, job.arguments.host),
        job.status === "running" ? null : badge(job.status, statusWord(job.status))),
      el("div", { class: "row push" }, el("span", { class: "small num" }, figures(job)), el("div", { class: "actions" }, gated, ...buttons))),
    el("div", { class: `small wrap ${live ? "muted" : ""}` }, said(job), " ", page),
    progress,
    ...(job.progress.active ?? []).filter(() => live && job.progress.active.length > 1).map((/** @type {any} */ f) =>
      el("div", { class: "row small muted" }, el("span", { class: "grow wrap" }, f.file), el("span", { class: "num" }, t("{done} of {total}", { done: bytes(f.done), total: bytes(f.total) })))),
    live ? el("p", { class: "small muted" }, t("Pause or close the page at any time; it resumes where it stopped.")) : null);
  const focused = document.activeElement?.closest(`#${CSS.escape(id)}`) ? document.activeElement?.getAttribute("aria-label") : null;
  if (before) before.replaceWith(card);
  else $("#downloads").append(card);
  $("#downloads").hidden = false;
  if (focused) /** @type {HTMLElement | null} */ (card.querySelector(`[aria-label="${CSS.escape(focused)}"]`))?.focus();
}

for (const job of data("downloads-now")) draw(job);
subscribe("jobs", "", (message) => {
  for (const job of message.items ?? []) if (message.kind === "changed" || job.status !== "done") draw(job);
  for (const id of message.removed ?? []) document.getElementById(`job-${id}`)?.remove();
});

for (const each of $$("[data-forget]")) {
  each.addEventListener("click", () => busy(each, post("/api/v1/models/folders/forget", { name: each.dataset.forget })).then(() => each.closest("tr").remove(), showProblem));
}

// --- removal ------------------------------------------------------------------------------

for (const each of $$("[data-remove]")) {
  each.addEventListener("confirmed", async () => {
    const name = each.dataset.remove;
    try {
      const { freed_bytes: freed } = await busy(each, del(`/api/v1/models/${name}`));
      toast(t("{name} was deleted; {size} freed.", { name, size: bytes(freed) }));
      if (name === "demo") location.reload();
      else each.closest("tr").remove();
    } catch (problem) {
      showProblem(problem);
    }
  });
}
