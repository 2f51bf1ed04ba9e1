// @ts-check
/** How a source is read: format, columns, three rows, and its name. */
import { post } from "../api.js";
import { $, $$, data, el, fieldError, url } from "../dom.js";
import { findings } from "../findings.js";
import { followJob } from "../job.js";
import { fieldProblem, problemNote } from "../remedies.js";
import { busy, showProblem } from "../shell.js";
import { number, percent, t } from "../words.js";

const source = data("source");
/** @type {{format?: string, columns?: Record<string, string>, delimiter?: string, header?: boolean, encoding?: string}} */
const chosen = {};
/** Settings chosen from the advice beside a problem. @type {{label: string, data: Record<string, any>}[]} */
const extra = [];

/** The settings that the rows are read with: the form's, and those that were chosen from advice. */
function asked() {
  /** @type {Record<string, any>} */
  const all = { ...chosen };
  for (const { data: more } of extra) {
    for (const [name, value] of Object.entries(more)) {
      const is = all[name];
      all[name] = Array.isArray(value) ? [...new Set([...(is ?? []), ...value])] : value instanceof Object ? { ...is, ...value } : value;
    }
  }
  return all;
}

let question = 0;
/** Asks how the source is read as chosen; an answer that a newer question has overtaken is dropped. */
async function propose() {
  const mine = ++question;
  let found;
  try {
    found = await post("/api/v1/datasets/propose", { source, data: asked() });
  } catch (/** @type {any} */ problem) {
    if (problem.detail === undefined) throw problem;
    if (mine !== question) return undefined;
    $("#waiting").hidden = true;
    $("#problem").replaceChildren(problemNote(problem, () => propose().catch(showProblem)));
    return undefined;
  }
  if (mine !== question) return undefined;
  $("#waiting").hidden = true;
  if (found.catalog) return drawCatalog(found.catalog);
  $("#mapping").hidden = false;
  if (found.likely) Object.assign(chosen, found.likely);
  note(found.problem || (found.format ? "" : t("No known format matches. Choose one and map its columns.")), found.problem ? found.remedies : []);
  drawForm(found);
  $("#preview").replaceChildren(...found.preview.map(drawExample));
  if (!found.preview.length) $("#preview").append(el("p", { class: "muted" }, t(found.raw.length ? "Choose a format on the right, then map the columns." : "nothing to show")));
  drawRaw(found);
}

/** The raw rows: what the user needs in order to name the columns. @param {any} found */
function drawRaw(found) {
  $("#raw").hidden = !found.raw.length;
  if (!found.format) $("#raw").open = true;
  const head = ["", ...found.columns].map((text) => el("th", { scope: "col" }, text));
  $("#raw-rows").replaceChildren(el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...found.raw.map((/** @type {any} */ row) => el("tr", {}, el("td", { class: "num" }, number(row.row)),
    ...(row.cells ? row.cells.map((/** @type {string} */ text) => el("td", { class: "wrap" }, text)) : [el("td", { colspan: found.columns.length || 1 }, row.problem)])))));
}

/** @param {string} text @param {any[]} [remedies] */
function note(text, remedies = []) {
  $("#problem").replaceChildren(...(text ? [el("div", { class: "note bad", role: "alert" }, text, offers(remedies))] : []));
}

/** Buttons for settings of how the rows are read. @param {any[]} remedies @param {() => void} [done] after one was chosen */
const offers = (remedies, done) => remedies.length > 0 && el("div", { class: "actions offers" }, ...remedies.map((each) => each.choices
  ? el("span", { class: "actions", role: "group", "aria-label": each.label }, `${each.label} =`, ...each.choices.map((/** @type {any} */ one) => offer(one, one.value, done)))
  : offer(each, each.label, done)));

/** @param {any} remedy @param {string} text @param {(() => void) | undefined} done */
const offer = (remedy, text, done) => el("button", { type: "button", class: "btn sm", "aria-label": remedy.label, onclick: () => {
  if (remedy.data.encoding) chosen.encoding = remedy.data.encoding;
  else if (!extra.some((each) => each.label === remedy.label)) extra.push(remedy);
  done?.();
  drawExtra();
  propose().catch(showProblem);
} }, text);

/** The settings that were chosen from advice, each with a button that takes it back. */
function drawExtra() {
  $("#extra").hidden = !extra.length;
  $("#extra ul").replaceChildren(...extra.map((each) => el("li", {}, el("span", { class: "wrap" }, each.label),
    el("button", { type: "button", class: "btn sm ghost", "aria-label": t("Remove {name}", { name: each.label }), onclick: () => {
      extra.splice(extra.indexOf(each), 1);
      drawExtra();
      propose().catch(showProblem);
    } }, "×"))));
}

/** @param {any} found */
function drawForm(found) {
  const select = $("[name=format]");
  const options = found.formats.map((/** @type {string} */ name) => el("option", { value: name, selected: name === found.format }, name));
  if (!found.format) options.unshift(el("option", { value: "", selected: true }, t("choose a format")));
  select.replaceChildren(...options);
  $("#f-format-help").textContent = !found.format ? "" : found.likely ? t("Likely {format}: check the columns and the preview.", { format: found.format }) : found.confidence === null ? t("Chosen: {format}", { format: found.format })
    : t("Detected: {format} ({share} confidence)", { format: found.format, share: percent(found.confidence) });
  $("#table-settings").hidden = !found.table;
  drawEncoding(found.encoding);
  const name = $("[name=name]");
  if (!name.value) name.value = found.name;
  $("#columns").replaceChildren(...found.needed.map((/** @type {any} */ each) => {
    const id = `column-${each.ours}`;
    const pick = el("select", { id, "data-ours": each.ours, onchange: choose }, el("option", { value: "" }, t("not in the rows")),
      ...found.columns.map((/** @type {string} */ theirs) => el("option", { value: theirs, selected: theirs === each.theirs }, theirs)));
    return el("div", { class: "f" }, el("div", { class: "lab" }, el("label", { for: id }, each.ours),
      el("span", { class: "muted" }, each.required ? t("required") : t("optional"))), pick);
  }));
}

/** @param {string | null} encoding the current one; null for files that state it themselves */
function drawEncoding(encoding) {
  const pick = $("[name=encoding]");
  pick.closest(".f").hidden = !encoding;
  if (encoding && ![...pick.options].some((each) => each.value === encoding)) pick.append(el("option", { value: encoding }, encoding));
  if (encoding) pick.value = encoding;
}

function choose() {
  // The columns setting must list all columns that are read, so every choice is sent.
  chosen.columns = {};
  for (const pick of $$("#columns select")) if (pick.value) chosen.columns[pick.dataset.ours] = pick.value;
  chosen.format = $("[name=format]").value;
  propose().catch(showProblem);
}

/** @param {any} row */
function drawExample(row) {
  const head = el("h3", {}, t("Row {n}", { n: number(row.row) }));
  if (row.problem) return el("div", { class: "finding" }, head, el("div", { class: "note bad" }, row.problem, offers(row.remedies)));
  head.append(...(row.said ?? []).map((/** @type {string} */ text) => el("span", { class: "badge plain" }, text)));
  if (!row.chosen) return el("div", { class: "finding" }, head, turns(row.messages ?? row.prompt ?? [{ role: "text", content: row.text }]));
  return el("div", { class: "finding" }, head, turns(row.prompt), el("div", { class: "sides" }, ...["chosen", "rejected"].map((name) =>
    el("section", { "aria-label": t(name) }, el("h4", {}, t(name)), turns(row[name])))));
}

/** @param {any[]} messages */
const turns = (messages) => el("dl", { class: "turns" }, ...messages.map((turn) =>
  el("div", {}, el("dt", {}, t(turn.role)), el("dd", { tabindex: "0" }, turn.content,
    ...(turn.calls ?? []).map((/** @type {string} */ name) => el("code", {}, t("calls {name}", { name })))))));

/** @param {boolean} skip @param {HTMLElement} button @returns {Promise<void>} */
async function save(skip, button) {
  fieldError("name", "");
  try {
    const name = $("[name=name]").value.trim();
    const made = await busy(button, post("/api/v1/datasets", { source, name, data: asked(), skip_bad: skip }));
    if (made.job) return void followJob($("#progress"), made.job, t("Checking"), (result) => open(result.name));
    open(made.name);
  } catch (/** @type {any} */ problem) {
    if (problem.detail === undefined) throw problem;
    if (!problem.params.groups) return fieldProblem("name", problem, () => save(skip, button));
    const { groups, bad, rows, only_rows: only } = problem.params;
    const all = $("#groups");
    all.replaceChildren(el("div", { class: "note bad", role: "alert" },
      bad ? t("{bad} of {rows} rows cannot be used.", { bad: number(bad), rows: number(rows) }) : problem.detail), ...findings(groups, () => null, offers));
    $("#skip").hidden = !only;
    $("#skip").replaceChildren(el("button", { type: "button", class: "btn", onclick: (/** @type {any} */ event) => save(true, event.currentTarget) },
      t("Skip bad lines ({n})", { n: number(bad) })));
    all.scrollIntoView({ block: "nearest" });
  }
}

/** @param {string} name */
const open = (name) => location.assign(url(`/datasets/${name}`));

/** @param {any[]} entries */
function drawCatalog(entries) {
  $("#catalog").hidden = false;
  $("#entries tbody").replaceChildren(...entries.map((each, n) => el("tr", { "data-entry": each.name },
    el("td", {}, el("input", { type: "checkbox", id: `entry-${n}`, value: each.name, disabled: Boolean(each.problem), checked: !each.problem, "aria-label": each.name })),
    el("td", { class: "wrap" }, el("label", { for: `entry-${n}` }, each.name)), el("td", {}, each.format ?? "–"), el("td", { class: "wrap" }, each.where),
    el("td", { class: "wrap" }, each.problem || (each.free ? "" : t("Name taken; a version number will be added."))))));
}

$("#import").addEventListener("click", async () => {
  const names = $$("#entries input:checked").map((box) => box.value);
  if (!names.length) return note(t("Select at least one."));
  note("");
  try {
    const done = await busy($("#import"), post("/api/v1/datasets/import", { source, names }));
    for (const each of done) {
      const row = $(`#entries tr[data-entry="${CSS.escape(each.name)}"]`);
      row.lastChild.replaceChildren(each.error ?? el("a", { href: url(`/datasets/${each.as}`) },
        t("Imported as {name}, {n} rows", { name: each.as, n: number(each.rows) })));
      const box = $("input", row);
      box.checked = false;
      box.disabled = !each.error;
    }
  } catch (problem) {
    showProblem(problem);
  }
});
/** How the file is split into cells: this changes the columns, so earlier choices are dropped. */
function cut() {
  delete chosen.columns;
  chosen.header = $("[name=header]").checked;
  chosen.encoding = $("[name=encoding]").value;
  const delimiter = $("[name=delimiter]").value;
  if (delimiter) chosen.delimiter = delimiter;
  else delete chosen.delimiter;
  propose().catch(showProblem);
}
for (const name of ["delimiter", "header", "encoding"]) $(`[name=${name}]`).addEventListener("change", cut);
$("[name=format]").addEventListener("change", () => {
  chosen.columns = {};
  chosen.format = $("[name=format]").value;
  propose().catch(showProblem);
});
$("#form").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  save(false, $("#save"));
});
propose().catch(showProblem);
