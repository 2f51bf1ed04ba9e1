// @ts-check
/**
 * A list in a table: search, chips, sort by header, pages, keys. The URL stores its state, so that a
 * link, a reload and the back button show the same rows.
 *
 *   const list = makeList($("#runs"), {search: $("#find"), size: 50, onSelect: (keys) => …})
 *   list.refresh()      after rows were added, removed or changed
 *   list.selected()     keys of the selected rows      list.clear() deselects them
 *
 * The template writes ui.table(columns with key and sort) and rows like
 *   <tr data-row="KEY" data-status="done"><td><input type="checkbox" data-select></td>
 *       <td><a data-open href>…</a></td><td class="r" data-value="0.53">0.530</td></tr>
 * data-value is the sort key if the text is not suitable; rows without one come last. A chip
 * <button class="chip" data-chip="status:done"> shows only rows whose data-status has that word.
 * Keys: j k move, Enter opens [data-open], x selects [data-select], c presses [data-compare].
 * In the URL: ?q=search&sort=-loss&page=2&status=done
 */
import { $, $$, announce, debounce, el, icon } from "./dom.js";
import { t } from "./words.js";

/**
 * @typedef {object} List
 * @property {HTMLTableElement} table
 * @property {() => HTMLTableRowElement[]} shown rows on this page
 * @property {() => void} refresh
 * @property {() => string[]} selected
 * @property {() => void} clear
 */

/** @type {List[]} */
const lists = [];

/**
 * @param {HTMLTableElement} table
 * @param {{search?: HTMLInputElement | null, size?: number, onSelect?: (keys: string[]) => void}} [options]
 * @returns {List}
 */
export function makeList(table, { search = null, size = 50, onSelect = () => {} } = {}) {
  const body = table.tBodies[0];
  const headers = $$("th[data-column]", table);
  const chips = /** @type {HTMLElement[]} */ ($$("[data-chip]"));
  const pager = el("div", { class: "pager", hidden: true });
  const none = el("p", { class: "muted empty", hidden: true }, t("No matching rows."));
  table.parentElement?.after(none, pager);

  /** @returns {HTMLTableRowElement[]} */
  const rows = () => $$("tr[data-row]", body);
  const shown = () => rows().filter((row) => !row.hidden);
  const read = () => new URLSearchParams(location.search);

  /** @param {Record<string, string>} changes empty values are removed from the URL */
  function write(changes) {
    const query = read();
    for (const [name, value] of Object.entries(changes)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    const text = query.toString();
    history.replaceState(history.state, "", location.pathname + (text ? `?${text}` : "") + location.hash);
    refresh();
  }

  /** @param {HTMLTableRowElement} row @param {string[]} words @param {string[][]} wanted */
  function matches(row, words, wanted) {
    const text = (row.dataset.text ?? row.textContent ?? "").toLowerCase();
    return words.every((word) => text.includes(word)) &&
      wanted.every(([name, value]) => (row.dataset[name] ?? "").split(" ").includes(value));
  }

  /** @param {HTMLTableRowElement} row @param {number} place */
  function value(row, place) {
    const cell = row.cells[place];
    return cell?.dataset.value ?? cell?.textContent?.trim() ?? "";
  }

  /** @param {string} order "loss" or "-loss" */
  function sortRows(order) {
    const down = order.startsWith("-");
    const header = headers.find((cell) => cell.dataset.column === order.replace(/^-/, ""));
    for (const cell of headers) cell.removeAttribute("aria-sort");
    if (!header) return;
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = $(".sort", header).dataset.sort === "number";
    const place = header.cellIndex;
    const keyed = rows().map((row) => ({ row, key: value(row, place) }));
    keyed.sort((a, b) => {
      const gap = Number(emptyKey(a.key, numeric)) - Number(emptyKey(b.key, numeric));
      if (gap) return gap;
      const way = numeric ? Number(a.key) - Number(b.key) : a.key.localeCompare(b.key, undefined, { numeric: true });
      return down ? -way : way;
    });
    if (keyed.some(({ row }, index) => row !== rows()[index])) body.append(...keyed.map(({ row }) => row));
  }

  function refresh() {
    const query = read();
    const words = (query.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const names = new Set(chips.map((chip) => (chip.dataset.chip ?? "").split(":")[0]));
    const wanted = [...names].filter((name) => query.get(name)).map((name) => [name, query.get(name) ?? ""]);
    for (const chip of chips) {
      const [name, word] = (chip.dataset.chip ?? "").split(":");
      chip.setAttribute("aria-pressed", String((query.get(name) ?? "") === word));
    }
    sortRows(query.get("sort") ?? "");
    const found = rows().filter((row) => matches(row, words, wanted));
    const pages = Math.max(1, Math.ceil(found.length / size));
    const page = Math.min(Math.max(1, Number(query.get("page")) || 1), pages);
    const visible = new Set(found.slice((page - 1) * size, page * size));
    for (const row of rows()) row.hidden = !visible.has(row);
    none.hidden = !rows().length || found.length > 0;
    drawPager(page, pages, found.length);
    if (words.length || wanted.length) announce(t("{n} rows", { n: found.length }));
    tell();
  }

  /** @param {number} page @param {number} pages @param {number} count */
  function drawPager(page, pages, count) {
    pager.hidden = pages < 2;
    if (pages < 2) return;
    const turn = (/** @type {number} */ to, /** @type {string} */ label, /** @type {string} */ image) =>
      el("button", { type: "button", class: "btn sm", "aria-label": label, disabled: to < 1 || to > pages,
        onclick: () => write({ page: to > 1 ? String(to) : "" }) }, icon(image));
    const range = t("{from}–{to} of {n}", { from: (page - 1) * size + 1, to: Math.min(page * size, count), n: count });
    pager.replaceChildren(el("span", { class: "num" }, range), turn(page - 1, t("Previous page"), "left"), turn(page + 1, t("Next page"), "right"));
  }

  const selected = () => rows().filter((row) => row.querySelector("[data-select]:checked")).map((row) => row.dataset.row ?? "");
  let last = "";
  function tell() {
    const now = selected();
    if (now.join("\n") !== last) onSelect(now);
    last = now.join("\n");
  }

  function clear() {
    for (const tick of $$("[data-select]:checked", body)) tick.checked = false;
    tell();
  }

  for (const header of headers) {
    const button = header.querySelector(".sort");
    button?.addEventListener("click", () => {
      const name = header.dataset.column;
      const now = read().get("sort") ?? "";
      const first = button.dataset.sort === "number" ? `-${name}` : name;
      const second = first.startsWith("-") ? name : `-${name}`;
      write({ sort: now === first ? second : now === second ? "" : first, page: "" });
    });
  }
  for (const chip of chips) {
    const [name, word] = (chip.dataset.chip ?? "").split(":");
    chip.addEventListener("click", () => write({ [name]: read().get(name) === word ? "" : word, page: "" }));
  }
  if (search) {
    search.value = read().get("q") ?? "";
    search.addEventListener("input", debounce(120, () => write({ q: search.value.trim(), page: "" })));
  }
  body.addEventListener("change", tell);
  const list = { table, shown, refresh, selected, clear };
  lists.push(list);
  refresh();
  return list;
}

/** @param {string} key @param {boolean} numeric */
const emptyKey = (key, numeric) => key === "" || (numeric && Number.isNaN(Number(key)));

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  const typing = target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]");
  const list = lists.find(({ table }) => table.offsetParent !== null);
  if (!list || typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const rows = list.shown();
  const here = rows.findIndex((row) => "here" in row.dataset);
  if (event.key === "j" || event.key === "k") {
    const next = rows[Math.min(Math.max(here + (event.key === "j" ? 1 : -1), 0), rows.length - 1)];
    for (const row of rows) delete row.dataset.here;
    if (next) {
      next.dataset.here = "";
      next.scrollIntoView({ block: "nearest" });
      /** @type {HTMLElement | null} */ (next.querySelector("[data-open], a, button"))?.focus({ preventScroll: true });
    }
  } else if (event.key === "Enter" && here >= 0 && !target.closest("a, button")) {
    /** @type {HTMLElement | null} */ (rows[here].querySelector("[data-open]"))?.click();
  } else if (event.key === "x" && here >= 0) {
    /** @type {HTMLElement | null} */ (rows[here].querySelector("[data-select]"))?.click();
  } else if (event.key === "c") {
    /** @type {HTMLElement | null} */ (document.querySelector("[data-compare]:not([disabled])"))?.click();
  } else {
    return;
  }
  event.preventDefault();
}

document.addEventListener("keydown", onKey);
