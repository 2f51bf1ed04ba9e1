// @ts-check
/** One dataset: a row as the model sees it, filling in placeholders, a summary of the checks. */
import { refused } from "../refused.js";
import { get, post } from "../api.js";
import { $, $$, data, debounce, el, fieldError, recall, remember, url } from "../dom.js";
import { cell, leaves, page } from "../rows.js";
import { busy, showProblem } from "../shell.js";
import { number, percent, t } from "../words.js";

const FEW = 6;
const one = data("dataset");
const base = `/api/v1/datasets/${one.name}`;
const look = $("#look");
let row = one.row;
let rows = one.rows ?? Infinity;
/** @type {any} */
let shown = null;
/** @type {AbortController | null} */
let asking = null;

const settings = () => Object.fromEntries(["model", "template", "max_length", "loss_on", "too_long"].map((name) => [name, look.elements[name].value]));

async function show() {
  asking?.abort();
  asking = new AbortController();
  $("#row").value = String(row);
  const chosen = settings();
  $("#looking").textContent = t("{model} · {template} · {n} tokens", { model: chosen.model, template: chosen.template || t("the model's own"), n: number(Number(chosen.max_length)) });
  const slow = setTimeout(() => say(t("Tokenizing; the first time takes a few seconds.")), 600);
  try {
    shown = await get(`${base}/tokens`, { row, ...chosen }, { signal: asking.signal });
    rows = shown.rows;
    draw();
  } catch (/** @type {any} */ problem) {
    if (problem.name === "AbortError") return;
    if (problem.detail === undefined) throw problem;
    $("#tokens").replaceChildren();
    $("#counts").textContent = "";
    told = problem.detail;
    notes([["bad", refused(problem)]]);
    say("");
  } finally {
    clearTimeout(slow);
  }
  for (const line of $$("#few tbody tr")) line.toggleAttribute("aria-current", line.dataset.number === String(row));
}

/** @param {string} text */
const say = (text) => ($("#tokinfo").textContent = text);

/** What is wrong with the row, or the file, is said once on this page. @type {string | undefined} */
let told;
/** @param {[string, string | Node][]} said */
const notes = (said) => $("#row-notes").replaceChildren(...said.map(([kind, text]) => el("div", { class: `note ${kind}`, role: kind === "bad" ? "alert" : null }, text)));

/** @param {any} each a row or one side of a pair */
function counts(each) {
  const share = percent(each.trained / Math.max(1, each.total));
  const words = t("{trained} / {total} tokens trained ({share})", { trained: "\u0001", total: number(each.total), share }).split("\u0001");
  return [words[0], el("b", {}, number(each.trained)), words[1]];
}

/** What is drawn: the single row, or both sides of a pair. */
const parts = () => shown.drawn ?? [shown];

function draw() {
  $("#total").textContent = number(rows);
  const cut = parts().reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + each.cut, 0);
  $("#counts").replaceChildren(...shown.said.map((/** @type {string} */ text) => el("span", { class: "badge plain" }, text)), " ", ...(shown.drawn ? [] : counts(shown)));
  $("#cut-legend").hidden = !cut;
  $("#cut-at").textContent = t("truncated at {n}", { n: number(shown.max_length) });
  /** @type {[string, string][]} */
  const said = shown.warnings.map((/** @type {any} */ each) => each.code === "untrained" ? ["bad", t("No token in this row is trained on.")]
    : ["warn", each.code === "dropped" ? t("A run would drop this row: {why}.", { why: each.text }) : each.text]);
  const dropped = shown.warnings.some((/** @type {any} */ each) => each.code === "dropped");
  if (cut && !dropped) said.push(["warn", t("truncated: {n} tokens", { n: number(cut) })]);
  if (shown.drawn) said.push(["info", t("Both answers share a prompt of {n} tokens.", { n: number(shown.shared_prompt) })]);
  if (shown.parts > 1) said.push(["info", t("This row becomes {n} training rows.", { n: shown.parts }) + " " + t("Training row {part} of {parts}", shown)]);
  for (const text of shown.notes) said.push(["info", text]);
  notes(said);
  $("#tokens").classList.toggle("sides", Boolean(shown.drawn));
  $("#tokens").replaceChildren(...(shown.drawn ? shown.drawn.map(side) : shown.pieces.map((/** @type {any} */ each, /** @type {number} */ n) => piece(each, n, 0))));
  $("#tokens .tok")?.setAttribute("tabindex", "0");
  say("");
}

/** @param {any} each @param {number} place */
function side(each, place) {
  return el("div", { role: "group", "aria-label": each.name }, el("p", { class: "small muted counts" }, el("b", {}, each.name), " · ", ...counts(each)),
    ...each.pieces.map((/** @type {any} */ one, /** @type {number} */ n) => piece(one, n, place)));
}

/** @param {any} each @param {number} n @param {number} place which side */
function piece(each, n, place) {
  const kinds = [each.trained && !each.cut && "trained", each.special && "special", each.cut && "cut"].filter(Boolean).join(" ");
  const made = el("span", { class: `tok ${kinds}`, "data-n": n, "data-side": place, tabindex: "-1" });
  const spaces = look.elements.spaces.checked;
  for (const part of each.text.split(/(\n)/)) {
    if (part === "\n") made.append(el("span", { class: "ws", "aria-hidden": "true" }, "↵"), "\n");
    else if (part) made.append(spaces ? part.replace(/ /g, "·").replace(/\t/g, "→\t") : part);
  }
  if (look.elements.ids.checked) made.append(el("span", { class: "tid" }, each.ids.join("+")));
  return made;
}

/** @param {any} place a token that is hovered or focused */
function explain(place) {
  const each = parts()[Number(place.dataset.side)].pieces[Number(place.dataset.n)];
  const ids = each.ids.join(", ");
  const facts = [t(each.ids.length > 1 ? "tokens {id}" : "token {id}", { id: ids }), JSON.stringify(each.text), t("position {n}", { n: each.position }),
    each.cut ? t("truncated") : t(each.trained ? "trained" : "not trained"), each.special && t("special token")];
  say(facts.filter(Boolean).join(" · "));
}

for (const name of ["mouseover", "focusin"]) {
  $("#tokens").addEventListener(name, (/** @type {any} */ event) => {
    const place = event.target.closest(".tok");
    if (place) explain(place);
  });
}
$("#tokens").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
  const here = document.activeElement?.closest(".tok");
  if (step === undefined || !here) return;
  event.preventDefault();
  const all = $$(".tok", $("#tokens"));
  const next = all[Math.max(0, Math.min(all.length - 1, all.indexOf(here) + step))];
  here.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
});

/** @param {number} to */
function go(to) {
  row = Math.max(1, Math.min(rows, Math.round(to) || 1));
  history.replaceState(null, "", url(`/datasets/${one.name}?tab=see&row=${row}`));
  show().catch(showProblem);
}
$("#before").addEventListener("click", () => go(row - 1));
$("#after").addEventListener("click", () => go(row + 1));
$("#row").addEventListener("change", () => go(Number($("#row").value)));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /** @type {Element} */ (event.target).closest("input, select, textarea")) return;
  if (event.key === "[") go(row - 1);
  else if (event.key === "]") go(row + 1);
});
look.addEventListener("submit", (/** @type {SubmitEvent} */ event) => event.preventDefault());
look.addEventListener("change", (/** @type {any} */ event) => {
  if (["spaces", "ids"].includes(event.target.name)) return shown && draw();
  remember("looking", settings());
  show().catch(showProblem);
  figures().catch(showProblem);
});

/** A cell of at most a few lines; all of them in the chosen row, and as its title. @param {any} value */
function short(value) {
  const made = cell(value);
  for (const leaf of $$(".leaf", made)) {
    leaf.classList.add("cut");
    leaf.title = leaf.textContent;
  }
  return made;
}

async function few() {
  const found = await page(one.name, Math.floor((row - 1) / FEW) * FEW, FEW);
  $("#few thead").replaceChildren(el("tr", {}, el("th", { scope: "col" }, "#"), ...found.columns.map((/** @type {string} */ name) => el("th", { scope: "col" }, name))));
  $("#few tbody").replaceChildren(...found.rows.map((/** @type {any} */ each) => el("tr", { "data-number": each.number, "aria-current": each.number === row },
    el("td", { class: "num" }, el("button", { type: "button", class: "btn link", "aria-label": t("Row {n}", { n: each.number }) }, number(each.number))),
    ...found.columns.map((/** @type {string} */ name) => el("td", {}, each.values ? short(each.values[name] ?? "") : (each.problem ?? ""))))));
}
$("#few tbody").addEventListener("click", (/** @type {any} */ event) => {
  const line = event.target.closest("tr");
  if (line && !String(getSelection())) go(Number(line.dataset.number));
});

/** @type {any} */
let checked = null;
async function figures() {
  checked ??= await get(`${base}/checks`);
  const count = (/** @type {string} */ code) => checked.groups?.find((/** @type {any} */ each) => each.code === code)?.count ?? 0;
  const broken = !checked.rows && checked.bad === 0 && !checked.ok; // the file was not read at all
  const pairs = checked.job || broken ? [] : [[t("Placeholders left"), number(count("W706"))], [t("Duplicates"), number(count("W704"))], [t("Empty answers"), number(count("E302"))], [t("Bad rows"), number(checked.bad)]];
  const put = (/** @type {any[]} */ all) => $("#figures").replaceChildren(...all.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  put(pairs);
  try {
    const found = await get(`${base}/statistics`, settings());
    put([...pairs, [t("Tokens"), number(found.tokens)], [t("Longest"), t("{n} tokens", { n: number(found.length.max) })], [t("Truncated at {n}", { n: number(found.max_length) }), number(found.truncated)]]);
    $("#short-wait").textContent = "";
  } catch (/** @type {any} */ problem) {
    $("#short-wait").replaceChildren(problem.detail === told ? "" : refused(problem));
  }
}

const form = document.querySelector("#fill");
if (form) {
  const fields = () => /** @type {any[]} */ ($$("[data-blank]", form));
  const values = () => Object.fromEntries(fields().map((each) => [each.dataset.blank, each.value.trim()]));
  const example = page(one.name, 0, 1);
  const preview = debounce(120, async () => {
    const given = values();
    const slug = (given.name ?? Object.values(given)[0] ?? "").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 30);
    $("#fill-name").textContent = $("[name=fill_name]").value.trim() || (slug ? `${one.name}-${slug}` : one.suggested);
    const first = (await example).rows[0]?.values;
    const box = $("#fill-preview");
    box.hidden = !first;
    if (!first) return;
    const parts = [el("span", { class: "muted" }, t("Row 1:"), "\n")];
    for (const leaf of leaves(first)) {
      for (const part of leaf.text.split(/(\{\{\s*\w+\s*\}\})/)) {
        const blank = /^\{\{\s*(\w+)\s*\}\}$/.exec(part)?.[1];
        parts.push(blank ? el("mark", {}, given[blank] || part) : part);
      }
      parts.push("\n");
    }
    box.replaceChildren(...parts);
  });
  form.addEventListener("input", preview);
  preview();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let first = null;
    for (const each of fields()) {
      fieldError(`fill.${each.dataset.blank}`, each.value.trim() ? "" : t("Write something here."));
      if (!each.value.trim()) first ??= each;
    }
    if (first) return first.focus();
    try {
      const made = await busy($("button[type=submit]", form), post(`${base}/fill`, { variables: values(), name: $("[name=fill_name]").value.trim() }));
      location.assign(url(`/datasets/${made.name}`));
    } catch (problem) {
      showProblem(problem);
    }
  });
}

for (const [name, value] of Object.entries(recall("looking") ?? {})) {
  const control = look.elements[name];
  if (control && (control.type !== "select-one" || [...control.options].some((each) => each.value === value))) control.value = value;
}
few().catch(showProblem);
show().then(figures).catch(showProblem);
