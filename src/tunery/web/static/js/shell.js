// @ts-check
/**
 * What every page has: keys, language, colours, the job box, strips, toasts, inline confirmation.
 *
 *   toast("Deleted.", {undo: async () => …, seconds: 10, kind: "bad"})
 *   showProblem(problem)                 a Problem of api.js as a toast, sentence and fix
 *   const yes = await ask(button, "Delete identity (9.8 MiB)?", "Delete")   replaces the button
 *   strip("offline", "…", {label, act}) / unstrip("offline")               a line above the page
 *   mainAction(() => …)                  what Ctrl+Enter does (else the button with data-main)
 *   busy(button, promise)                greys the button until the promise ends
 *
 * From templates alone: ui.confirm fires event "confirmed" on its button; ui.copy copies.
 */
import { askBase, baseWanted } from "./base-model.js";
import { $, $$, announce, badge, bar, el, root, url, version } from "./dom.js";
import { onState, subscribe } from "./live.js";
import { allowFolder } from "./remedies.js";
import { bytes, joined, number, t } from "./words.js";

/** @param {string} text @param {{undo?: () => Promise<unknown>, seconds?: number, kind?: string, acts?: {label: string, act: () => Promise<unknown>}[]}} [options] */
export function toast(text, { undo, seconds = undo ? 10 : 5, kind = "", acts = [] } = {}) {
  const left = el("span", { class: "left", "aria-hidden": "true" });
  const line = el("div", { class: `toast ${kind}` }, el("span", {}, text));
  const close = () => {
    clearInterval(timer);
    line.remove();
  };
  for (const { label, act } of acts) {
    line.append(el("button", { type: "button", class: "btn sm", onclick: () => {
      close();
      act().catch(showProblem);
    } }, label));
  }
  if (undo) {
    const button = el("button", { type: "button", class: "btn sm", onclick: () => {
      close();
      undo().catch(showProblem);
    } }, t("Undo"));
    line.append(button, left);
  } else {
    line.append(el("button", { type: "button", class: "btn sm", onclick: close }, t("Close")));
  }
  const held = () => line.matches(":hover, :focus-within");
  const timer = setInterval(() => {
    if (!held()) seconds -= 1;
    left.textContent = `${seconds}`;
    if (seconds <= 0) close();
  }, 1000);
  left.textContent = `${seconds}`;
  $("#toasts").append(line);
  return close;
}

/** @param {any} problem */
export function showProblem(problem) {
  if (problem?.name === "AbortError") return;
  if (problem?.code === undefined) throw problem;
  const text = problem.code === "offline" ? t("The server did not respond.") : problem.detail;
  const allowed = (problem.remedies ?? []).filter((/** @type {any} */ remedy) => remedy.action === "allow_folder");
  const acts = allowed.map((/** @type {any} */ remedy) => ({ label: remedy.label, act: () => allowFolder(remedy).then(() => toast(t("Allowed. Try again."))) }));
  const owner = baseWanted(problem);
  if (owner) acts.push({ label: t("Choose the base model"), act: async () => askBase(owner, () => toast(t("Base model saved. Try again."))) });
  toast(joined(text, problem.fix), { kind: "bad", seconds: 12, acts });
}

/**
 * Ask for confirmation in place of a button.
 * @param {HTMLElement} button
 * @param {string} question names the object and its size
 * @param {string} yes label of the button that confirms
 * @returns {Promise<boolean>}
 */
export function ask(button, question, yes) {
  return new Promise((answer) => {
    const end = (/** @type {boolean} */ said) => {
      box.remove();
      button.hidden = false;
      if (!said) button.focus();
      answer(said);
    };
    const does = el("button", { type: "button", class: "btn sm danger", onclick: () => end(true) }, yes);
    const keeps = el("button", { type: "button", class: "btn sm", onclick: () => end(false) }, t("Keep"));
    const box = el("span", { class: "ask", role: "group", "aria-label": question, onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") end(false);
    } }, el("span", {}, question), does, keeps);
    button.hidden = true;
    button.after(box);
    keeps.focus();
    announce(question);
  });
}

/** @param {HTMLElement} button @param {Promise<any>} promise */
export async function busy(button, promise) {
  button.setAttribute("aria-busy", "true");
  button.toggleAttribute("disabled", true);
  try {
    return await promise;
  } finally {
    button.removeAttribute("aria-busy");
    button.toggleAttribute("disabled", false);
  }
}

/** @param {string} id @param {string} text @param {{label: string, act: () => void}} [button] */
export function strip(id, text, button) {
  unstrip(id);
  const line = el("div", { class: "strip", id: `strip-${id}` }, el("span", {}, text));
  if (button) line.append(el("button", { type: "button", class: "btn sm", onclick: button.act }, button.label));
  $("#strips").append(line);
}

/** @param {string} id */
export function unstrip(id) {
  document.getElementById(`strip-${id}`)?.remove();
}

/** @type {(() => void) | null} */
let main = null;
/** @param {() => void} act */
export function mainAction(act) {
  main = act;
}

// --- keys ---------------------------------------------------------------------------------

let waiting = 0;

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.isComposing || event.defaultPrevented) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
    const button = /** @type {HTMLButtonElement | null} */ (document.querySelector("[data-main]"));
    if (main) main();
    else button?.click();
    if (main || button) event.preventDefault();
    return;
  }
  const typing = target.matches("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  if (event.key === "Escape" && typing) target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const after = Date.now() - waiting < 1500;
  waiting = 0;
  if (after) {
    const place = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
    if (place) {
      event.preventDefault();
      event.stopImmediatePropagation();
      /** @type {HTMLElement} */ (place).click();
    }
  } else if (event.key === "g") {
    waiting = Date.now();
  } else if (event.key === "?") {
    $("#keys").showModal();
  } else if (event.key === "/") {
    const box = /** @type {HTMLElement | null} */ (document.querySelector("[data-search], input[type=search]"));
    box?.focus();
    if (box) event.preventDefault();
  }
}

// --- language and colours -----------------------------------------------------------------

/** @param {string} name @param {string} value */
export function setCookie(name, value) {
  document.cookie = `${name}=${value}; path=${root || "/"}; max-age=31536000; SameSite=Lax`;
}

/** @param {string} theme auto, light or dark */
export function setTheme(theme) {
  setCookie("tunery_theme", theme);
  document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new CustomEvent("tunery:theme"));
}

/** @param {string} language en or zh */
export function setLanguage(language) {
  setCookie("tunery_lang", language);
  location.reload();
}

const THEMES = ["auto", "light", "dark"];

function nextTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  const theme = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  setTheme(theme);
  const use = $("#theme use");
  use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#theme-${theme}`));
}

// --- the job box --------------------------------------------------------------------------

/** @type {Map<string, any>} */
const runs = new Map();
const LIVE = ["running", "stopping", "paused", "queued"];
const told = new Map();

/** @param {import("./live.js").Message} message */
function onRuns(message) {
  if (message.kind === "snapshot") {
    const here = new Set(message.items.map((/** @type {any} */ run) => run.name));
    for (const name of runs.keys()) if (!here.has(name)) runs.delete(name);
  }
  for (const name of message.removed ?? []) runs.delete(name);
  for (const run of message.items ?? []) {
    sayProgress(runs.get(run.name), run);
    runs.set(run.name, run);
  }
  drawJobs();
}

/** @param {any} before @param {any} run */
function sayProgress(before, run) {
  if (!before) return;
  if (before.status !== run.status && ["finished", "failed", "interrupted"].includes(run.status)) {
    announce(t(run.status === "finished" ? "{name} is done." : "{name} failed.", { name: run.name }));
  } else if (run.status === "running" && run.num_steps) {
    const share = 10 * Math.floor((10 * run.step) / run.num_steps);
    if (share > (told.get(run.name) ?? 0)) announce(t("{name} is {share} % done.", { name: run.name, share }));
    told.set(run.name, share);
  }
}

/** The status to show: a queued run that nothing is ahead of is starting. @param {any} run */
export const shownStatus = (run) => (run.starting ? "starting" : run.status);

/** @param {string} status */
export function statusWord(status) {
  const table = { running: "Running", queued: "Queued", starting: "Starting", paused: "Paused", stopping: "Stopping", done: "Done", finished: "Done", failed: "Failed", stopped: "Stopped", interrupted: "Interrupted" };
  return t(table[/** @type {keyof typeof table} */ (status)] ?? status);
}

/** @type {any} the latest message of the topic machine */
let machine = null;

/** The training device, shown while nothing is training. @param {any} now */
function machineLine(now) {
  const gpu = now.gpus[0];
  const [free, total] = gpu ? [gpu.free_bytes, gpu.total_bytes] : [now.available_bytes, now.memory_bytes];
  const text = t("{free} of {total} free", { free: bytes(free), total: bytes(total) });
  return el("div", { class: "jobbox idle" },
    el("span", { class: "cut", title: gpu?.name }, gpu ? gpu.name : t("CPU, {n} cores", { n: now.cores })),
    el("span", { class: "muted num" }, text),
    bar(total - free, total, text));
}

function drawJobs() {
  const box = $("#jobbox");
  const live = [...runs.values()].filter((run) => LIVE.includes(run.status));
  live.sort((a, b) => LIVE.indexOf(a.status) - LIVE.indexOf(b.status));
  box.hidden = !live.length && !machine;
  if (!live.length) return box.replaceChildren(...(machine ? [machineLine(machine)] : []));
  const run = live[0];
  const more = live.length - 1;
  const text = run.num_steps ? t("{step} of {total} steps", { step: number(run.step), total: number(run.num_steps) }) : t("starting…");
  box.replaceChildren(
    el("a", { class: "jobbox", href: url(`/runs/${encodeURIComponent(run.name)}`) },
      el("span", { class: "row" }, badge(shownStatus(run), statusWord(shownStatus(run))), more > 0 && el("span", { class: "muted push" }, t("{n} waiting", { n: more }))),
      el("span", { class: "cut", title: run.name }, run.name),
      el("span", { class: "muted num" }, text),
      bar(run.num_steps ? run.step : null, run.num_steps ?? 1, run.name)),
  );
}

// --- the connection -----------------------------------------------------------------------

let lostTimer = 0;
let wasLost = false;

/** @param {import("./live.js").State} state */
function onConnection(state) {
  clearTimeout(lostTimer);
  document.documentElement.dataset.connection = state;
  if (state === "lost") {
    // Leaving the page, or one slow response, is no reason for a warning.
    lostTimer = window.setTimeout(() => {
      wasLost = true;
      strip("offline", t("Connection lost. Training continues; reconnecting…"));
    }, 1500);
  } else if (state === "refused") {
    loggedOut();
  } else if (state === "live" || state === "polling") {
    unstrip("offline");
    if (wasLost) {
      announce(t("Reconnected."));
      checkVersion();
    }
    wasLost = false;
  }
}

function loggedOut() {
  const next = encodeURIComponent(location.pathname.slice(root.length) + location.search);
  strip("login", t("Your session has ended. Log in again."), { label: t("Log in"), act: () => location.assign(url(`/login?next=${next}`)) });
}

async function checkVersion() {
  const answer = await fetch(url("/static/version")).catch(() => null);
  if (answer?.ok && (await answer.json()).version !== version) {
    strip("updated", t("The server was updated."), { label: t("Reload"), act: () => location.reload() });
  }
}

// --- from templates alone -----------------------------------------------------------------

/** @param {MouseEvent} event */
async function onClick(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  const button = /** @type {HTMLElement | null} */ (target.closest("[data-confirm]"));
  if (button && (await ask(button, button.dataset.confirm ?? "", button.dataset.yes ?? ""))) {
    button.dispatchEvent(new CustomEvent("confirmed", { bubbles: true }));
  }
  const copier = /** @type {HTMLElement | null} */ (target.closest("[data-copy]"));
  if (copier) copy(copier.dataset.copy || $("pre", copier.parentElement ?? document).textContent);
}

/** @param {string} text */
export async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
  } else {
    // There is no clipboard API over plain http on another host; the old way still works.
    const area = el("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(t("Copied."), { seconds: 3 });
}

/** @param {string} selector @param {string} event @param {(event: any) => void} act */
function on(selector, event, act) {
  for (const element of $$(selector)) element.addEventListener(event, act);
}

document.addEventListener("keydown", onKey);
document.addEventListener("click", onClick);
document.addEventListener("tunery:logged-out", loggedOut);
on("#language", "click", () => setLanguage($("#language").dataset.to));
on("#theme", "click", nextTheme);
on("#show-keys", "click", () => $("#keys").showModal());
document.querySelector(".place[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
if (document.getElementById("jobbox")) {
  onState(onConnection);
  subscribe("runs", "", onRuns);
  subscribe("machine", "", (message) => {
    machine = message;
    drawJobs();
  });
}
