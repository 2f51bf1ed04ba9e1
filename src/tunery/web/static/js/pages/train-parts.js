// @ts-check
/** Parts of the Train page that do not depend on the draft: notes, the changes, the search, the run's name. */
import { $, $$, debounce, el, fieldError } from "../dom.js";
import { t } from "../words.js";

/** A sentence next to the plan, with the buttons that fix it. @param {string} kind @param {Node | string} text @param {any[]} remedies @param {(remedy: any) => void} mend */
export function note(kind, text, remedies, mend) {
  const buttons = remedies.map((remedy) => el("button", { type: "button", class: "btn sm", onclick: () => mend(remedy) }, remedy.label));
  return el("div", { class: `note ${kind}` }, text, buttons.length > 0 && el("div", { class: "actions" }, ...buttons));
}

/** The errors that the form shows: that no dataset is chosen is one only after Start, or after the choice was taken back. @param {any} state @param {Record<string, any>} fields @param {boolean} pressed @returns {Record<string, any>} */
export function errorsShown(state, fields, pressed) {
  if (pressed || state.values["data.train"]?.value.length || "data.train" in fields) return state.errors;
  return Object.fromEntries(Object.entries(state.errors).filter(([path]) => path !== "data.train"));
}

/** @param {any[]} rows settings that differ from the defaults */
export function drawDiff(rows) {
  if (!rows.length) return $("#diff").replaceChildren(el("p", { class: "muted" }, t("No changes: all defaults.")));
  const lines = rows.map((/** @type {any} */ row) => el("tr", {}, el("th", { scope: "row" }, el("code", {}, row.path)), el("td", { class: "muted" }, row.left), el("td", {}, row.right)));
  const head = el("tr", {}, ...["Setting", "Default", "Current"].map((text) => el("th", { scope: "col" }, t(text))));
  $("#diff").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines)));
}

/** Shows under the field, as the user types, whether a run can have the name. */
export function checkName() {
  fieldError("run-name", !nameFits() ? t("Use lowercase letters, digits, dots, dashes and underscores; begin with a letter or digit.") : "");
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
export const runName = () => $("#f-run-name").value.trim();

/** Whether a run can have the name; an empty one is made from the day, the data and the method. */
export const nameFits = () => !runName() || NAME.test(runName());

/** Shows the settings that match the search box. */
export const search = debounce(80, () => {
  const words = $("#find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let any = false;
  for (const part of $$(".part")) {
    let here = false;
    for (const setting of $$(".setting", part)) {
      const found = words.every((/** @type {string} */ word) => setting.dataset.words.includes(word));
      setting.classList.toggle("missed", !found);
      here ||= found && !setting.hidden;
    }
    part.classList.toggle("missed", !here);
    any ||= here && !part.hidden;
  }
  $("#none-found").hidden = any;
});
