// @ts-check
/** The rows of a dataset: pages, search, and edits that go into a copy. */
import { patch } from "../api.js";
import { $, data, debounce, el, url } from "../dom.js";
import { cell, leaves, page } from "../rows.js";
import { ask, busy, showProblem, toast } from "../shell.js";
import { number, t } from "../words.js";

const SIZE = 25;
const one = data("dataset");
const asked = new URLSearchParams(location.search);
let q = asked.get("q") ?? "";
/** First row numbers of the pages already viewed, to go back in a search. */
const before = [Math.max(0, one.row - 1)];
if (!q) before[0] -= before[0] % SIZE;
/** @type {any} */
let shown = null;
$("[name=q]").value = q;

/** Request counter: the response to an older search is ignored. */
let round = 0;

async function show() {
  const offset = before.at(-1) ?? 0;
  const mine = ++round;
  const found = await page(one.name, offset, SIZE, q);
  if (mine !== round) return;
  shown = found;
  const note = shown.problem ? [el("div", { class: "note bad", role: "alert" }, shown.problem)] : [];
  $("#rows-problem").replaceChildren(...note);
  $("#rows thead").replaceChildren(el("tr", {}, el("th", { scope: "col" }, "#"), ...shown.columns.map((/** @type {string} */ name) => el("th", { scope: "col" }, name)),
    el("th", { scope: "col" }, el("span", { class: "unseen" }, t("Edit")))));
  $("#rows tbody").replaceChildren(...shown.rows.map(line));
  if (!shown.rows.length) $("#rows tbody").append(el("tr", {}, el("td", { colspan: shown.columns.length + 2, class: "muted" }, t("No matching rows."))));
  const [first, last] = [shown.rows[0]?.number, shown.rows.at(-1)?.number];
  const total = shown.total ?? one.rows;
  $("#span").textContent = !first ? "" : t(total ? "{from}–{to} of {n}" : "{from}–{to}", { from: number(first), to: number(last), n: number(total) });
  $("#previous").disabled = before.length < 2 && !offset;
  $("#next").disabled = shown.next === null;
  const words = new URLSearchParams({ tab: "rows", ...(q ? { q } : {}), ...(offset ? { row: String(offset + 1) } : {}) });
  history.replaceState(null, "", url(`/datasets/${one.name}?${words}`));
}

/** @param {any} row */
function line(row) {
  const made = el("tr", { "data-number": row.number, tabindex: "-1" }, el("td", { class: "num" }, number(row.number)));
  if (row.values) for (const name of shown.columns) made.append(el("td", {}, cell(row.values[name] ?? "")));
  else made.append(el("td", { colspan: shown.columns.length || 1 }, el("div", { class: "note bad" }, row.problem), el("pre", { tabindex: "0" }, row.raw)));
  const actions = el("div", { class: "actions" });
  if (one.editable && row.values) actions.append(el("button", { type: "button", class: "btn sm", onclick: () => edit(made, row) }, t("Edit")));
  if (one.editable) actions.append(el("button", { type: "button", class: "btn sm danger", onclick: (/** @type {any} */ event) => remove(event.currentTarget, row) }, t("Delete")));
  made.append(el("td", { class: "r" }, actions));
  return made;
}

/** @param {HTMLElement} made @param {any} row its values; number 0 for a new row */
function edit(made, row) {
  const boxes = /** @type {{path: any[], box: any, text: string}[]} */ ([]);
  const cells = shown.columns.map((/** @type {string} */ name) => el("td", {}, el("div", { class: "cell" }, ...leaves(row.values[name] ?? "", [name]).map((leaf) => {
    const box = el("textarea", { rows: Math.min(8, 1 + Math.ceil(leaf.text.length / 60)), "aria-label": [name, leaf.who].filter(Boolean).join(" · ") }, leaf.text);
    boxes.push({ path: leaf.path, box, text: leaf.text });
    return el("div", { class: "leaf" }, leaf.who && el("span", { class: "who" }, leaf.who), box);
  }))));
  const save = el("button", { type: "button", class: "btn sm pri", onclick: () => {
    const changes = row.number ? boxes.filter((each) => each.box.value !== each.text).map((each) => ({ row: row.number, path: each.path, text: each.box.value }))
      : [{ after: one.rows ?? 0, values: filled(row.values, boxes) }];
    const undo = boxes.map((each) => ({ row: row.number, path: each.path, text: each.text }));
    if (changes.length) send(save, changes, row.number ? undo : null);
    else show().catch(showProblem);
  } }, t("Save"));
  const cancel = el("button", { type: "button", class: "btn sm", onclick: () => show().catch(showProblem) }, t("Cancel"));
  made.replaceChildren(el("td", { class: "num" }, row.number ? number(row.number) : t("New row")), ...cells, el("td", { class: "r" }, el("div", { class: "actions" }, save, cancel)));
  boxes[0]?.box.focus();
}

/** @param {any} values @param {{path: any[], box: any}[]} boxes */
function filled(values, boxes) {
  const made = structuredClone(values);
  for (const { path, box } of boxes) {
    let inner = made;
    for (const step of path.slice(0, -1)) inner = inner[step];
    inner[path.at(-1)] = box.value;
  }
  return made;
}

/** @param {HTMLElement} button @param {any} row */
async function remove(button, row) {
  if (!(await ask(button, t("Delete row {n}?", { n: number(row.number) }), t("Delete")))) return;
  await send(button, [{ row: row.number, delete: true }], row.values ? [{ after: row.number - 1, values: row.values }] : null, t("Row {n} was deleted.", { n: number(row.number) }));
}

/**
 * @param {HTMLElement} button
 * @param {any[]} changes
 * @param {any[] | null} undo
 * @param {string} [said]
 */
async function send(button, changes, undo, said = t("Saved.")) {
  try {
    const made = await busy(button, patch(`/api/v1/datasets/${one.name}/rows`, { changes }));
    if (made.name !== one.name) {
      const row = changes[0].row ?? changes[0].after ?? 1;
      return location.assign(url(`/datasets/${made.name}?tab=rows&row=${row}`));
    }
    one.rows = made.rows;
    await show();
    toast(said, undo ? { undo: async () => {
      one.rows = (await patch(`/api/v1/datasets/${one.name}/rows`, { changes: undo })).rows;
      await show();
    } } : {});
  } catch (problem) {
    showProblem(problem);
  }
}

function seek() {
  const wanted = $("[name=q]").value.trim();
  if (wanted === q) return;
  q = wanted;
  before.splice(0, before.length, 0);
  show().catch(showProblem);
}
$("#search").addEventListener("input", debounce(250, seek));
$("#search").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  seek();
});
$("#next").addEventListener("click", () => {
  before.push(shown.next);
  show().catch(showProblem);
});
$("#previous").addEventListener("click", () => {
  const last = before.pop() ?? 0;
  if (!before.length) before.push(Math.max(0, last - SIZE));
  show().catch(showProblem);
});
/** @param {any} value @param {string} [key] @returns {any} the same structure without its text */
function empty(value, key = "") {
  if (value === null || typeof value !== "object") return key === "role" || key === "from" ? value : "";
  if (Array.isArray(value)) return value.map((item) => empty(item));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, empty(item, name)]));
}
document.querySelector("#add-row")?.addEventListener("click", () => {
  const like = shown.rows.find((/** @type {any} */ each) => each.values)?.values ?? Object.fromEntries(shown.columns.map((/** @type {string} */ name) => [name, ""]));
  const made = el("tr", {});
  $("#rows tbody").prepend(made);
  edit(made, { number: 0, values: empty(like) });
});
show().catch(showProblem);
