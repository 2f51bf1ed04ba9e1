// @ts-check
/** Tags and the note of a run: saved as they are typed, and not lost when the page is left. */
import { patch } from "../api.js";
import { $, debounce } from "../dom.js";
import { showProblem } from "../shell.js";
import { t } from "../words.js";

/** @param {string} api the run's URL */
export function wireMarks(api) {
  const form = $("#marks");
  const state = $("#marks-state");
  const wanted = () => ({
    tags: $("[name=tags]", form).value.split(/[,，]/).map((/** @type {string} */ tag) => tag.trim()).filter(Boolean),
    note: $("[name=note]", form).value,
  });
  let kept = JSON.stringify(wanted());

  async function save() {
    const now = wanted();
    if (JSON.stringify(now) === kept) return;
    await patch(api, now, { keepalive: true }).then(() => {
      kept = JSON.stringify(now);
      state.textContent = t("Saved.");
    }, (/** @type {any} */ problem) => { state.textContent = t("Not saved."); showProblem(problem); });
  }
  const later = debounce(800, save);
  form.addEventListener("input", () => { state.textContent = ""; later(); });
  form.addEventListener("change", save);
  form.addEventListener("submit", (/** @type {Event} */ event) => { event.preventDefault(); save(); });
  window.addEventListener("pagehide", save);
}
