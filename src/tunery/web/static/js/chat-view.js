// @ts-check
/**
 * Renders the chat: one column per model, a question and an answer per turn. No requests here.
 *
 *   drawColumns(columns, settings, groups, acts)   the headers, once per selection of models
 *   drawTurns(column, turns, name, acts)           all turns of one column
 *   answerText(element, answer, other)             plain text, or with differences marked
 */
import { askBase, baseWanted } from "./base-model.js";
import { badge, el, icon } from "./dom.js";
import { marked } from "./diff.js";
import { joined, number, t } from "./words.js";

/**
 * @typedef {{text: string, facts: Record<string, any>}} Answer
 * @typedef {{number: number, text: string, answers: Record<string, Answer>}} Turn
 * @typedef {{choose: (place: number, name: string) => void, remove: (place: number) => void, edit: (turn: number) => void,
 *   again: (turn: number, name: string) => void, goOn: (turn: number, name: string) => void, rate: (turn: number, name: string, rating: number) => void,
 *   row: (turn: number, name: string, answer?: string) => void, prompt: (answer: Answer) => void}} Acts
 */

/**
 * @param {HTMLElement} place
 * @param {string[]} names
 * @param {{label: string, names: [string, string][]}[]} groups
 * @param {Acts} acts
 */
export function drawColumns(place, names, groups, acts) {
  place.dataset.n = String(names.length);
  const several = names.length > 1;
  place.replaceChildren(...names.map((name, i) => {
    const id = `column-${i}`;
    const select = el("select", { id, onchange: (/** @type {any} */ event) => acts.choose(i, event.target.value) },
      ...groups.map((group) => el("optgroup", { label: group.label },
        ...group.names.map(([value, label]) => el("option", { value, selected: value === name }, label)))));
    return el("section", { class: "card column", "aria-label": name, dataset: { name } },
      el("div", { class: "columnhead" },
        names.length === 2 ? badge(i ? "done" : "", i ? t("After") : t("Before")) : null,
        el("label", { class: "unseen", for: id }, t("Model")), select,
        several ? el("button", { type: "button", class: "btn ghost sm", "aria-label": t("Remove {name}", { name }), onclick: () => acts.remove(i) }, icon("close")) : null,
        el("span", { class: "state", role: "status" })),
      el("div", { class: "said", tabindex: 0, role: "log", "aria-live": "off", "aria-label": t("Answer of {name}", { name }) }));
  }));
}

/**
 * @param {HTMLElement} column
 * @param {Turn[]} turns
 * @param {{name: string, reference: string | null, busy: boolean}} how reference: the model to mark differences against
 * @param {Acts} acts
 */
export function drawTurns(column, turns, { name, reference, busy }, acts) {
  const said = /** @type {HTMLElement} */ (column.querySelector(".said"));
  const atEnd = said.scrollHeight - said.scrollTop - said.clientHeight < 40;
  said.replaceChildren(...turns.flatMap((turn) => {
    const answer = turn.answers[name];
    const other = reference !== null ? turn.answers[reference] : undefined;
    const edit = el("button", { type: "button", class: "btn ghost sm", title: t("Edit"), "aria-label": t("Edit"), disabled: busy, onclick: () => acts.edit(turn.number) }, icon("edit"));
    const lines = [el("div", { class: "mineline" }, el("div", { class: "mine" }, turn.text), edit)];
    if (!answer) return [...lines, busy ? null : el("div", { class: "foot" }, t("There is no answer to this prompt yet."), again(turn, name, acts))];
    return [...lines, ...drawAnswer(turn, name, answer, other, busy, acts)];
  }).filter((line) => line !== null));
  if (atEnd) said.scrollTop = said.scrollHeight;
}

/** @param {Turn} turn @param {string} name @param {Answer} answer @param {Answer | undefined} other @param {boolean} busy @param {Acts} acts */
function drawAnswer(turn, name, answer, other, busy, acts) {
  const { facts } = answer;
  const lines = [];
  if (facts.forgot) lines.push(el("div", { class: "note info" }, t("The {n} oldest messages were dropped to fit the model's context.", { n: facts.forgot })));
  if (facts.thought) lines.push(el("details", { class: "thought" }, el("summary", {}, t("Thinking")), el("div", {}, facts.thought)));
  if (facts.error) lines.push(el("div", { class: "note bad", role: "alert" }, joined(facts.error, facts.fix), mendBase(turn, name, facts, acts)));
  else {
    const text = el("div", { class: `theirs${facts.coming ? " coming" : ""}` });
    answerText(text, answer, other);
    lines.push(text);
  }
  lines.push(foot(turn, name, answer, busy, acts));
  return lines;
}

/** @param {HTMLElement} place @param {Answer} answer @param {Answer} [other] */
export function answerText(place, answer, other) {
  if (!other?.text || !answer.text) place.textContent = answer.text;
  else place.replaceChildren(...marked(answer.text, other.text).map((piece) => (piece.differs ? el("mark", {}, piece.text) : piece.text)));
}

/** @param {Turn} turn @param {string} name @param {Answer} answer @param {boolean} busy @param {Acts} acts */
function foot(turn, name, answer, busy, acts) {
  const { facts } = answer;
  if (facts.coming) return el("div", { class: "foot" }, facts.num_prompt_tokens ? t("{n} tokens in the prompt", { n: facts.num_prompt_tokens }) : facts.loading || t("Waiting for the model…"));
  const words = [];
  if (facts.num_tokens) words.push(t("{n} tokens", { n: number(facts.num_tokens) }));
  const rest = facts.seconds - facts.first_token_seconds;
  if (facts.num_tokens > 1 && rest > 0) words.push(t("{rate} tokens/s", { rate: number((facts.num_tokens - 1) / rest, 1) }));
  if (facts.first_token_seconds) words.push(t("first token after {ms} ms", { ms: number(Math.round(facts.first_token_seconds * 1000)) }));
  if (facts.reason === "interrupted") words.push(t("stopped"));
  if (facts.reason === "length") words.push(t("reached the token limit"));
  const cut = facts.reason === "interrupted" || facts.reason === "length";
  const press = (/** @type {string} */ label, /** @type {string} */ image, /** @type {() => void} */ act, pressed = /** @type {boolean | null} */ (null)) =>
    el("button", { type: "button", class: "btn ghost sm", title: label, "aria-label": label, disabled: busy, "aria-pressed": pressed === null ? null : String(pressed), onclick: act }, icon(image));
  return el("div", { class: "foot" }, el("span", { class: "cut", title: words.join(" · ") }, words.join(" · ")),
    cut && answer.text ? el("button", { type: "button", class: "btn sm", disabled: busy, onclick: () => acts.goOn(turn.number, name) }, t("Continue")) : null,
    again(turn, name, acts, busy),
    facts.error ? null : press(t("Copy"), "copy", () => navigator.clipboard?.writeText(answer.text)),
    facts.error ? null : press(t("Good answer"), "up-thumb", () => acts.rate(turn.number, name, facts.rating === 1 ? 0 : 1), facts.rating === 1),
    facts.error ? null : press(t("Bad answer"), "down-thumb", () => acts.rate(turn.number, name, facts.rating === -1 ? 0 : -1), facts.rating === -1),
    facts.error ? null : press(t("Add as training row"), "plus", () => acts.row(turn.number, name)),
    facts.prompt_text ? press(t("Raw prompt"), "info", () => acts.prompt(answer)) : null);
}

/** A button if the base model was moved: set its location, then ask the question again. @param {Turn} turn @param {string} name @param {any} facts @param {Acts} acts */
function mendBase(turn, name, facts, acts) {
  const owner = baseWanted({ code: facts.code, params: facts });
  return owner ? el("div", { class: "actions" }, el("button", { type: "button", class: "btn sm", onclick: () => askBase(owner, () => acts.again(turn.number, name)) }, t("Choose the base model"))) : null;
}

/** @param {Turn} turn @param {string} name @param {Acts} acts @param {boolean} [busy] */
const again = (turn, name, acts, busy = false) =>
  el("button", { type: "button", class: "btn ghost sm", title: t("Regenerate"), "aria-label": t("Regenerate"), disabled: busy, onclick: () => acts.again(turn.number, name) }, icon("again"));
