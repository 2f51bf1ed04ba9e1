// @ts-check
/** The table of runs: live rows, selection, bulk actions, the order of the queue. */
import { patch, post } from "../api.js";
import { $, $$, recall, remember, url } from "../dom.js";
import { subscribe } from "../live.js";
import { keepOn, moveParts, partsOf } from "../parts.js";
import { ask, busy, showProblem, toast } from "../shell.js";
import { makeList } from "../table.js";
import { bytes, listed, t } from "../words.js";
import { DELETED } from "./run-header.js";

const UNDO_MS = 15_000;

const table = /** @type {HTMLTableElement | null} */ (document.querySelector("#runs"));
/** @type {ReturnType<typeof makeList> | null} */
let list = null;
const empty = !table;

const parts = /** @type {HTMLTemplateElement | null} */ (document.querySelector("#parts"));
const first = parts?.content.querySelector("#part-rows");
if (table && first) table.tBodies[0].replaceWith(first);
moveParts();
keepOn();
if (table) list = makeList(table, { search: $("#find"), size: 50, onSelect: chosen });

/** @param {string[]} names */
function chosen(names) {
  $("#bulk").hidden = !names.length;
  $("#chosen").textContent = t("{n} selected", { n: names.length });
  const fits = names.length >= 2 && names.length <= 6;
  $("#compare").disabled = !fits;
  $("#bulk-compare").disabled = !fits;
  $("#bulk-baseline").disabled = names.length !== 1;
}

let ticked = /** @type {string[]} */ ([]);
const refresh = partsOf("/runs/-/parts", () => {
  if (empty && document.querySelector("#part-rows tr")) location.reload();
  for (const row of $$("#part-rows tr")) {
    const box = row.querySelector("[data-select]");
    if (box && ticked.includes(row.dataset.row)) box.checked = true;
  }
  list?.refresh();
});
document.addEventListener("change", () => { ticked = list?.selected() ?? []; });
subscribe("runs", "", (message) => {
  if (!empty) refresh(); // also initially: a run may have started since the page was rendered
  else if (message.kind === "changed" || message.items?.length) location.reload();
});

function compare() {
  const names = list?.selected() ?? [];
  if (names.length >= 2 && names.length <= 6) location.assign(url(`/compare?ids=${names.map(encodeURIComponent).join(",")}`));
  else toast(t("Choose 2 to 6 runs to compare."));
}

async function remove(/** @type {MouseEvent} */ event) {
  const names = list?.selected() ?? [];
  const button = /** @type {HTMLElement} */ (event.currentTarget);
  const question = names.length === 1 ? t("Delete {name}?", { name: names[0] }) : t("Delete {n} runs ({names})?", { n: names.length, names: listed(names.slice(0, 3)) });
  if (!names.length || !(await ask(button, question, t("Delete")))) return;
  const gone = await busy(button, post("/api/v1/runs/delete", { names })).catch(showProblem);
  if (!gone) return;
  list?.clear();
  ticked = [];
  refresh();
  toast(t("{n} runs deleted ({size}).", { n: names.length, size: bytes(gone.bytes) }), {
    undo: async () => { await post("/api/v1/runs/undo", { tokens: gone.tokens }); refresh(); },
  });
}

async function pin() {
  const names = list?.selected() ?? [];
  const all = names.every((name) => document.querySelector(`tr[data-row="${CSS.escape(name)}"] .pin`));
  await Promise.all(names.map((name) => patch(`/api/v1/runs/${name}`, { pinned: !all }))).catch(showProblem);
  refresh();
}

async function baseline() {
  const [name] = list?.selected() ?? [];
  const row = document.querySelector(`tr[data-row="${CSS.escape(name)}"] .name .badge`);
  await patch(`/api/v1/runs/${name}`, { baseline: !row }).catch(showProblem);
  refresh();
}

/** A run that was deleted on its own page can be restored here. */
function offerUndo() {
  const gone = recall(DELETED);
  remember(DELETED, null);
  if (!gone || Date.now() - gone.at > UNDO_MS) return;
  toast(t("{n} runs deleted ({size}).", { n: 1, size: bytes(gone.bytes) }), {
    undo: async () => { await post("/api/v1/runs/undo", { tokens: gone.tokens }); location.assign(url(`/runs/${gone.name}`)); },
  });
}
offerUndo();

if (table) {
  $("#compare").addEventListener("click", compare);
  $("#bulk-compare").addEventListener("click", compare);
  $("#bulk-delete").addEventListener("click", remove);
  $("#bulk-pin").addEventListener("click", pin);
  $("#bulk-baseline").addEventListener("click", baseline);
}
document.addEventListener("click", async (event) => {
  const button = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("[data-move]"));
  if (!button) return;
  const names = $$(".queue li").map((item) => item.dataset.run);
  const from = names.indexOf(/** @type {any} */ (button.closest("li"))?.dataset.run);
  const [name] = names.splice(from, 1);
  names.splice(from + Number(button.dataset.move), 0, name);
  await post("/api/v1/queue/order", { runs: names }).then(() => toast(t("Queue reordered.")), showProblem);
  refresh();
});
