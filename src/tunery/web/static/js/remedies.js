// @ts-check
/**
 * A problem where it belongs, with the buttons that fix it.
 *
 *   problemNote(problem, again)             a note with the sentence and the buttons
 *   fieldProblem("source", problem, again)  the error under a ui.field, with the buttons
 *
 * `again` repeats what failed; it runs after a button has fixed the cause.
 */
import { post } from "./api.js";
import { $, el, fieldError } from "./dom.js";
import { joined } from "./words.js";

/** What is wrong and what to do, in one text. @param {any} problem */
export const sentenceOf = (problem) => joined(problem.detail, problem.fix);

/** Allows the page to open one more folder: the remedy for a path outside the allowed ones. @param {any} remedy */
export const allowFolder = (remedy) => post("/api/v1/settings/roots/allow", { folder: remedy.folder });

/** @param {any} problem @param {() => unknown} again @returns {HTMLElement | null} */
export function remedyButtons(problem, again) {
  const allowed = (problem.remedies ?? []).filter((/** @type {any} */ remedy) => remedy.action === "allow_folder");
  if (!allowed.length) return null;
  return el("div", { class: "actions" }, ...allowed.map((/** @type {any} */ remedy) => {
    const button = el("button", { type: "button", class: "btn sm", onclick: async () => {
      button.disabled = true;
      try {
        await allowFolder(remedy);
      } catch (/** @type {any} */ refused) {
        button.disabled = false;
        if (refused.detail === undefined) throw refused;
        return button.after(el("span", { class: "small" }, sentenceOf(refused)));
      }
      return again();
    } }, remedy.label);
    return button;
  }));
}

/** @param {any} problem @param {() => unknown} again @param {string} [kind] */
export const problemNote = (problem, again, kind = "bad") =>
  el("div", { class: `note ${kind}`, role: "alert" }, sentenceOf(problem), remedyButtons(problem, again));

/** @param {string} name a ui.field @param {any} problem @param {() => unknown} again */
export function fieldProblem(name, problem, again) {
  const buttons = remedyButtons(problem, again);
  if (fieldError(name, sentenceOf(problem)) && buttons) $(`[data-field="${CSS.escape(name)}"] .err`).append(buttons);
}
