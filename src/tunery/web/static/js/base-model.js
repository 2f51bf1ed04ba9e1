// @ts-check
/** Asks for the base model of an adapter if it was moved or replaced. */
import { post } from "./api.js";
import { el } from "./dom.js";
import { joined, t } from "./words.js";

/** Codes of errors that an answer fixes. */
const MENDED = ["base_missing", "other_base"];

/** @param {any} problem an error's code and params @returns {string} the run or adapter whose base is missing; empty for other errors */
export const baseWanted = (problem) => (MENDED.includes(problem?.code) ? String(problem.params?.owner ?? "") : "");

/** @param {string} owner a run or an adapter @param {() => void} done called when the base is known */
export function askBase(owner, done) {
  const box = el("input", { id: "base-model", required: true, spellcheck: "false", autocomplete: "off", "aria-describedby": "base-model-error" });
  const error = el("div", { class: "err", id: "base-model-error", role: "alert" });
  const dialog = el("dialog", { "aria-labelledby": "base-model-title" },
    el("h2", { id: "base-model-title" }, t("Base model of {name}", { name: owner })),
    el("p", { class: "small muted" }, t("The model it was trained on: a folder or a hub name.")),
    el("form", { onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      try {
        await post("/api/v1/models/base", { name: owner, model: box.value.trim() });
        dialog.close();
        done();
      } catch (/** @type {any} */ problem) {
        if (problem.code === undefined) throw problem;
        error.textContent = joined(problem.detail, problem.fix);
        box.setAttribute("aria-invalid", "true");
      }
    } }, el("div", { class: "f wide" }, el("div", { class: "lab" }, el("label", { for: "base-model" }, t("Folder or name"))), box, error),
    el("div", { class: "row gap" }, el("button", { class: "btn pri" }, t("Use this model")),
      el("button", { type: "button", class: "btn", onclick: () => dialog.close() }, t("Cancel")))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
