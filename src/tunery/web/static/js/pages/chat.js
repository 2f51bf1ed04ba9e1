// @ts-check
/** The chat page: one input, one to four models, streamed answers. */
import { del, get, patch, post } from "../api.js";
import { drawColumns, drawTurns } from "../chat-view.js";
import { $, $$, announce, data, debounce, el, fieldError, recall, remember, root } from "../dom.js";
import { lines } from "../ndjson.js";
import { showProblem, toast } from "../shell.js";
import { t } from "../words.js";
import { askSet, showChats } from "../chat-dialogs.js";

/** @typedef {import("../chat-view.js").Turn} Turn */
/** @typedef {import("../chat-view.js").Answer} Answer */

const MOST = 4;
const given = data("chat-data");
/** @type {{id: string | null, settings: Record<string, any>, turns: Turn[], busy: AbortController | null, editing: number | null, asked: number | null}} */
const now = {
  id: given.chat?.id ?? null, settings: given.chat?.settings ?? given.settings, turns: given.chat?.turns ?? [], busy: null, editing: null, asked: null,
};
const message = $("#message");
const place = $("#columns");

/** @type {import("../chat-view.js").Acts} */
const acts = {
  choose: (i, name) => setColumns(now.settings.columns.map((/** @type {string} */ old, /** @type {number} */ j) => (i === j ? name : old))),
  remove: (i) => setColumns(now.settings.columns.filter((/** @type {string} */ _, /** @type {number} */ j) => i !== j)),
  edit: (turn) => {
    now.editing = turn;
    message.value = now.turns.find((one) => one.number === turn)?.text ?? "";
    message.focus();
  },
  again: (turn, name) => ask({ turn, columns: [name] }),
  goOn: (turn, name) => ask({ turn, columns: [name], go_on: true }),
  rate: async (turn, name, rating) => {
    await tried(post(`/api/v1/chats/${now.id}/rating`, { turn, column: name, rating }));
    const answer = now.turns.find((one) => one.number === turn)?.answers[name];
    if (answer) answer.facts.rating = rating;
    draw();
  },
  row: rewrite,
  prompt: (answer) => {
    $("#prompt-text").replaceChildren(el("pre", { tabindex: 0 }, answer.facts.prompt_text));
    $("#prompt").showModal();
  },
};

/** @param {Promise<any>} promise */
async function tried(promise) {
  try {
    return await promise;
  } catch (problem) {
    showProblem(/** @type {any} */ (problem));
    throw problem;
  }
}

function draw() {
  const { columns } = now.settings;
  const mark = columns.length > 1 && $("#differences").checked;
  $$(".column").forEach((column, i) => drawTurns(column, now.turns, {
    name: columns[i], reference: mark ? columns[i === 0 ? 1 : 0] : null, busy: now.busy !== null,
  }, acts));
  $("#suggestions").hidden = now.turns.length > 0 || now.busy !== null;
  $("#send").hidden = now.busy !== null;
  $("#stop").hidden = now.busy === null;
}

const drawSoon = (() => {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => {
      waits = false;
      draw();
    });
  };
})();

function invite() {
  const { columns } = now.settings;
  const asked = columns.length > 1 ? t("Ask all models…") : t("Ask {name}…", { name: columns[0] });
  const hasKeys = !matchMedia("(pointer: coarse)").matches; // a touch screen has no such keys
  message.placeholder = hasKeys ? `${asked}  ${t("Enter to send, Shift+Enter for a new line")}` : asked;
}

function drawAll() {
  invite();
  drawColumns(place, now.settings.columns, given.groups, acts);
  $("#differences-box").hidden = now.settings.columns.length < 2;
  for (const radio of $$('input[name="mode"]')) radio.checked = (now.settings.columns.length > 1) === (radio.value === "2");
  address();
  draw();
}

function address() {
  const query = new URLSearchParams();
  if (now.id) query.set("id", now.id);
  else now.settings.columns.forEach((/** @type {string} */ name, /** @type {number} */ i) => query.set("abcd"[i], name));
  history.replaceState(null, "", `${root}/chat?${query}`);
}

/** @param {string[]} columns */
async function setColumns(columns) {
  now.settings.columns = [...new Set(columns)].slice(0, MOST);
  drawAll();
  await keepSettings();
}

async function keepSettings() {
  if (now.id) await tried(patch(`/api/v1/chats/${now.id}`, { settings: now.settings }));
}

/** @param {string} i */
function other(i) {
  const names = given.groups.flatMap((/** @type {any} */ group) => group.names.map((/** @type {string[]} */ one) => one[0]));
  return names.find((/** @type {string} */ name) => name !== i) ?? i;
}

/** @param {{text?: string, turn?: number, columns?: string[], go_on?: boolean}} what */
async function ask(what) {
  if (now.busy) return;
  now.busy = new AbortController();
  const names = what.columns ?? now.settings.columns;
  try {
    if (!now.id) now.id = (await post("/api/v1/chats", { settings: now.settings })).id;
    address();
    await lines(`/api/v1/chats/${now.id}/ask`, what, (event) => take(event, what, names), now.busy.signal);
    announce(t("Ready"));
  } catch (problem) {
    if (!(problem instanceof DOMException)) {
      if (/** @type {any} */ (problem).code === "offline") toast(t("Connection lost. The answer so far is kept."), { kind: "bad" });
      else showProblem(/** @type {any} */ (problem));
      if (what.text && !now.turns.some((turn) => turn.text === what.text)) message.value = what.text;
    }
  } finally {
    now.busy = null;
    for (const turn of now.turns) for (const answer of Object.values(turn.answers)) {
      if (answer.facts.coming) Object.assign(answer.facts, { coming: false, reason: "interrupted" });
    }
    for (const state of $$(".column .state")) state.textContent = "";
    draw();
  }
}

/**
 * @param {any} event
 * @param {{text?: string, go_on?: boolean}} what
 * @param {string[]} names
 */
function take(event, what, names) {
  if (event.kind === "begin") {
    let turn = now.turns.find((one) => one.number === event.turn);
    if (what.text !== undefined) {
      now.turns = now.turns.filter((one) => one.number < event.turn);
      turn = { number: event.turn, text: what.text, answers: {} };
      now.turns.push(turn);
    }
    for (const name of names) {
      if (turn) turn.answers[name] = { text: what.go_on ? turn.answers[name]?.text ?? "" : "", facts: { coming: true } };
    }
    now.asked = event.turn;
  } else {
    const answer = now.turns.find((one) => one.number === now.asked)?.answers[event.column];
    const state = $$(".column").find((column) => column.dataset.name === event.column)?.querySelector(".state");
    if (answer) hear(event, answer, state);
  }
  drawSoon();
}

/** @param {any} event @param {Answer} answer @param {Element | null | undefined} state */
function hear(event, answer, state) {
  const { kind, column, ...facts } = event;
  if (kind === "loading") answer.facts.loading = loadingText(column, event);
  if (state) state.textContent = kind === "loading" ? answer.facts.loading : "";
  if (kind === "text") answer.text += event.text;
  else if (kind === "thought") answer.facts.thought = (answer.facts.thought ?? "") + event.text;
  else if (kind === "forgot") answer.facts.forgot = event.count;
  else if (kind === "error") Object.assign(answer.facts, { error: event.detail, fix: event.fix, code: event.code, owner: event.owner, coming: false });
  else if (kind !== "loading") Object.assign(answer.facts, facts);
  if (kind === "ended") answer.facts.coming = false;
}

/** What a model that is not in memory yet is doing. @param {string} name @param {any} event */
function loadingText(name, { doing, seconds }) {
  if (!seconds) return ""; // it may be loaded already
  return doing ? t("Loading {name}: {doing}, {n} s", { name, doing, n: seconds }) : t("Loading {name}, {n} s", { name, n: seconds });
}

/** With greedy decoding nothing is sampled. */
function lockSampling() {
  const { greedy } = now.settings;
  for (const name of ["temperature", "top_p", "top_k", "seed"]) $(`#sampling [name="${name}"]`).disabled = greedy;
  $("#greedy-note").hidden = !greedy;
}

/** @param {number} turn @param {string} name */
function rewrite(turn, name) {
  const answer = now.turns.find((one) => one.number === turn)?.answers[name];
  const area = el("textarea", { rows: 6, id: "row-answer" });
  area.value = answer?.text ?? "";
  const dialog = el("dialog", { class: "drawer", "aria-labelledby": "row-title" },
    el("h2", { id: "row-title" }, t("Add as training row")),
    el("div", { class: "rewrite" }, el("label", { for: "row-answer" }, t("Correct answer")), area,
      el("div", { class: "row" },
        el("button", { type: "button", class: "btn pri", onclick: async () => {
          const made = await tried(post(`/api/v1/chats/${now.id}/row`, { turn, column: name, answer: area.value }));
          toast(t("Added to {dataset}: {n} rows.", { dataset: made.dataset, n: made.rows }));
          dialog.close();
        } }, t("Save as row")),
        el("button", { type: "button", class: "btn", onclick: () => dialog.close() }, t("Cancel")))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function send() {
  const text = message.value.trim();
  if (!text || now.busy) return;
  const turn = now.editing ?? undefined;
  now.editing = null;
  message.value = "";
  remember("chat-unsent", "");
  ask({ text, turn });
}

$("#composer").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  send();
});
message.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.isComposing) return; // Enter in an input method selects a word
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    send();
  } else if (event.key === "ArrowUp" && !message.value && now.turns.length) {
    event.preventDefault();
    acts.edit(/** @type {Turn} */ (now.turns.at(-1)).number);
  }
});
message.addEventListener("input", debounce(300, () => remember("chat-unsent", message.value)));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && now.busy && !document.querySelector("dialog[open]")) now.busy.abort();
});
$("#stop").addEventListener("click", () => now.busy?.abort());
$("#differences").addEventListener("change", draw);
$("#new-chat").addEventListener("click", () => {
  now.busy?.abort();
  Object.assign(now, { id: null, turns: [], editing: null });
  drawAll();
  message.focus();
});
for (const chip of $$("[data-suggestion]")) chip.addEventListener("click", () => ask({ text: chip.textContent }));
for (const radio of $$('input[name="mode"]')) {
  radio.addEventListener("change", () => {
    const [first, ...rest] = now.settings.columns;
    if (radio.value === "2" && other(first) === first) toast(t("There is only one model here. Train or download another one to compare."));
    setColumns(radio.value === "1" ? [first] : [first, ...(rest.length ? rest : [other(first)])]);
  });
}
$("#open-sampling").addEventListener("click", () => $("#sampling").showModal());
$("#open-chats").addEventListener("click", () => showChats({ get, patch, del, post }));
$("#open-sets").addEventListener("click", () => $("#sets").showModal());
for (const button of $$("[data-set]")) button.addEventListener("click", () => tried(askSet(button, now.settings)));
for (const control of $$("#sampling [name]")) {
  control.addEventListener("change", async () => {
    const value = control.type === "checkbox" ? control.checked : control.name === "system" ? control.value : Number(control.value);
    const wrong = typeof value === "number" && (control.value.trim() === "" || Number.isNaN(value));
    fieldError(control.name, "");
    if (!wrong) {
      try {
        await post("/api/v1/chats/check", { settings: { [control.name]: value } });
        now.settings[control.name] = value;
        lockSampling();
        await keepSettings();
        return;
      } catch (problem) {
        fieldError(control.name, /** @type {any} */ (problem).detail);
      }
    } else fieldError(control.name, t("Enter a number."));
  });
}
message.value = recall("chat-unsent") ?? "";
lockSampling();
drawAll();
