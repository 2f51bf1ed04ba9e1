// @ts-check
/** The header of a run: its name, and the actions in the menu "More". */
import { patch, post } from "../api.js";
import { $, $$, el, remember, url } from "../dom.js";
import { ask, busy, showProblem } from "../shell.js";
import { t } from "../words.js";

/** Deletions that the list of runs offers to undo; see runs.js. */
export const DELETED = "run-deleted";

/** @param {string} api the run's URL @param {string} name @param {(tab: string) => void} openTab */
export function wireHeader(api, name, openTab) {
  function rename() {
    const title = $("#title");
    const box = el("input", { value: title.textContent, "aria-label": t("Run name"), maxlength: 120 });
    const form = el("form", { onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      await patch(api, { title: box.value.trim() === name ? "" : box.value }).then(() => location.reload(), showProblem);
    } }, box, el("button", { class: "btn sm" }, t("Save")));
    box.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") form.replaceWith(title);
    });
    title.replaceWith(form);
    box.select();
  }

  /** @param {HTMLElement} button */
  async function remove(button) {
    if (!(await ask(button, t("Delete {name}?", { name: $("#title")?.textContent ?? name }), t("Delete")))) return;
    const gone = await busy(button, post("/api/v1/runs/delete", { names: [name] }));
    remember(DELETED, { ...gone, name, at: Date.now() });
    location.assign(url("/runs"));
  }

  $("#title").addEventListener("click", rename);
  document.addEventListener("click", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const found = /** @type {HTMLElement | null} */ (target.closest("#part-actions .menubox :is(a, [data-rename], [data-tags], [data-delete])"));
    if (!found) return;
    if ("delete" in found.dataset) {
      remove(found).catch(showProblem);
      return;
    }
    for (const menu of $$("#part-actions details[open]")) menu.open = false;
    if ("rename" in found.dataset) rename();
    if ("tags" in found.dataset) {
      openTab("charts");
      $("#tags").focus();
    }
  });
}
