// @ts-check
/**
 * Parts of a page that the server renders again: elements with data-part and an id. Parts that differ
 * replace the old ones. One that the user is working in (focus, an open menu) waits until they are
 * done, unless its data-status changed: the menu of a run that has ended offers invalid actions.
 *
 *   moveParts()                       on load: moves parts from #parts to their places
 *   const refresh = partsOf(path)     fetches and swaps, at most once a second, only while visible
 *   keepOn()                          the countdown strip: its seconds and its button
 */
import { post } from "./api.js";
import { $, $$, url } from "./dom.js";
import { showProblem, toast } from "./shell.js";
import { t } from "./words.js";

const EVERY_MS = 1000;

/** @param {ParentNode} from @returns {{changed: boolean, waits: boolean}} whether anything changed, and whether a part has to wait */
function swap(from) {
  let changed = false;
  let waits = false;
  for (const part of $$("[data-part]", from)) {
    const old = /** @type {HTMLElement | null} */ (document.querySelector(`[data-part]#${part.id}`));
    if (!old || old === part) continue;
    const busy = old.querySelector("details[open], .ask") || (old.contains(document.activeElement) && old.querySelector("input, [data-busy]"));
    if (old.innerHTML === part.innerHTML) continue;
    if (busy && old.dataset.status === part.dataset.status) {
      waits = true;
      continue;
    }
    const focused = old.contains(document.activeElement) ? [...old.querySelectorAll("a, button")].indexOf(/** @type {any} */ (document.activeElement)) : -1;
    // The element stays because other objects refer to it (a list to its table's body).
    old.hidden = !part.firstElementChild;
    old.replaceChildren(...part.childNodes);
    Object.assign(old.dataset, part.dataset);
    if (focused >= 0) $$("a, button", old)[focused]?.focus();
    changed = true;
  }
  return { changed, waits };
}

export function moveParts() {
  const box = /** @type {HTMLTemplateElement | null} */ (document.getElementById("parts"));
  if (!box) return;
  box.remove();
  swap(box.content);
}

/** @param {string} path @param {() => void} [after] called when something changed */
export function partsOf(path, after = () => {}) {
  let timer = 0;
  let last = 0;
  let wanted = false;
  async function fetchParts() {
    timer = 0;
    if (document.hidden) return;
    wanted = false;
    last = Date.now();
    const answer = await fetch(url(path), { credentials: "same-origin" }).catch(() => null);
    // A deleted run has nothing to draw; an unreachable or busy server is asked again.
    if (!answer?.ok) return answer && answer.status < 500 ? undefined : refresh();
    const { changed, waits } = swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    if (changed) after();
    if (waits) refresh();
  }
  document.addEventListener("visibilitychange", () => wanted && refresh());
  function refresh() {
    wanted = true;
    timer ||= window.setTimeout(fetchParts, Math.max(0, EVERY_MS - (Date.now() - last)));
  }
  return refresh;
}

export function keepOn() {
  document.addEventListener("click", async (event) => {
    if (!(/** @type {HTMLElement} */ (event.target).closest("[data-keep-on]"))) return;
    await post("/api/v1/notify/keep-on").then(() => toast(t("Power-off cancelled.")), showProblem);
    document.querySelector("#countdown")?.remove();
  });
  let drawn = /** @type {HTMLElement | null} */ (null);
  let end = 0;
  setInterval(() => {
    const box = /** @type {HTMLElement | null} */ (document.querySelector("#countdown"));
    if (!box) return;
    if (box !== drawn) end = Date.now() + 1000 * Number(box.dataset.seconds);
    drawn = box;
    const seconds = Math.max(0, Math.round((end - Date.now()) / 1000));
    $("*", box).textContent = t("Run {run} has ended. This machine will power off in {seconds} s.", { run: box.dataset.run, seconds });
  }, 1000);
}
