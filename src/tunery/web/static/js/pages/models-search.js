// @ts-check
/** Search the hub; a click on a result puts its name into the box above. */
import { get } from "../api.js";
import { $, debounce, el } from "../dom.js";
import { problemNote } from "../remedies.js";
import { number, t } from "../words.js";

/** @param {() => string} source the selected hub @param {(name: string) => void} choose */
export function wireSearch(source, choose) {
  const box = $("#f-hub-search");
  const place = $("#hub-results");
  let asked = 0;

  /** @param {any} m */
  function line(m) {
    const facts = [m.task, t("{n} downloads", { n: number(m.downloads) }), m.gated ? t("gated") : ""].filter(Boolean).join(" · ");
    return el("li", {}, el("button", { type: "button", class: "btn ghost sm", onclick: () => choose(m.name) }, m.name), el("span", { class: "small muted" }, facts));
  }

  async function search() {
    const mine = ++asked;
    const words = box.value.trim();
    if (!words) return place.replaceChildren();
    place.replaceChildren(el("p", { class: "small muted" }, t("Searching…")));
    try {
      const { models, host } = await get("/api/v1/models/search", { q: words, source: source() });
      if (mine !== asked) return;
      place.replaceChildren(models.length ? el("ul", { class: "places" }, ...models.map(line))
        : el("p", { class: "small muted" }, t("{host} has no matching models.", { host })));
    } catch (/** @type {any} */ problem) {
      if (problem.code === undefined) throw problem;
      if (mine === asked) place.replaceChildren(problemNote(problem, search, "warn"));
    }
  }
  const soon = debounce(400, search);
  box.addEventListener("input", soon);
  $("#search-form").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    search();
  });
  return search;
}
