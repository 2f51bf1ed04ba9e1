// @ts-check
/** One model: facts, template, memory, and consent for code that it contains. */
import { get, post } from "../api.js";
import { $, el, url } from "../dom.js";
import { problemNote } from "../remedies.js";
import { ask, showProblem, toast } from "../shell.js";
import { bytes, listed, number, t } from "../words.js";

const page = $("#model");
const name = page.dataset.name;
const room = Number(page.dataset.memory);

/** @param {string} title @param {...any} children */
const card = (title, ...children) => el("section", { class: "card", "aria-label": title }, el("div", { class: "cardhead" }, el("h2", {}, title)), ...children);

/** @param {[string, any][]} pairs */
const kv = (pairs) => el("dl", { class: "kv" }, ...pairs.filter(([, v]) => v !== null && v !== undefined && v !== "")
  .flatMap(([k, v]) => [el("dt", {}, k), el("dd", { class: "wrap" }, String(v))]));

/** @param {any[]} rows */
function memory(rows) {
  const lengths = [...new Set(rows.map((row) => row.tokens))];
  const names = /** @type {Record<string, string>} */ (JSON.parse(page.dataset.adapters || "{}"));
  const head = el("tr", {}, el("th", { scope: "col" }, t("Tokens per micro batch")), ...lengths.map((n) => el("th", { scope: "col", class: "r" }, number(n))));
  const lines = Object.entries(names).map(([adapter, label]) => el("tr", {}, el("th", { scope: "row" }, label), ...lengths.map((n) => {
    const need = rows.find((row) => row.adapter === adapter && row.tokens === n)?.bytes;
    const over = need > room;
    return el("td", { class: `r ${over ? "muted" : ""}`, title: over ? t("exceeds this machine's memory ({size})", { size: bytes(room) }) : null }, need ? bytes(need) + (over ? " !" : "") : "–");
  })));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines)));
}

/** @param {any} m */
function draw(m) {
  const facts = card(t("Details"), kv([
    [t("Architecture"), m.architecture], [t("Parameters"), m.num_parameters && number(m.num_parameters)], [t("Size"), bytes(m.size_bytes)],
    [t("Context"), m.context_length && t("{n} tokens", { n: number(m.context_length) })], [t("Weights"), m.weights], [t("Revision"), m.revision],
    [t("Folder"), m.path], [t("Notes"), m.notes.join(" ")],
  ]));
  const template = m.template
    ? card(t("Chat template"),
      ...(m.template_preview ? [el("p", { class: "small muted" }, t("A sample chat as the model sees it")), el("pre", { tabindex: "0", "aria-label": t("A sample chat as the model sees it") }, m.template_preview)] : []),
      el("details", {}, el("summary", {}, t("Template source")), el("pre", { tabindex: "0", "aria-label": t("Template source") }, m.template)))
    : card(t("Chat template"), el("p", { class: "muted" }, t("No chat template.")));
  const runs = m.runs.length ? el("ul", {}, ...m.runs.map((/** @type {string} */ run) => el("li", {}, el("a", { href: url(`/runs/${run}`) }, run)))) : el("p", { class: "muted" }, t("No runs yet."));
  $("#facts").replaceChildren(facts, template,
    ...(m.memory.length ? [card(t("Estimated memory per training step"), memory(m.memory))] : []),
    card(t("Configuration"), kv(Object.entries(m.config))),
    card(t("Special tokens"), kv(Object.entries(m.special_tokens))),
    card(t("Runs that use it"), runs));
  if (m.code_files.length) $("#code").replaceChildren(revoker(m.code_files));
}

/** @param {string[]} files */
function revoker(files) {
  return el("div", { class: "note warn" }, el("p", {}, `${t("its code is allowed to run")}: ${listed(files)}`),
    el("div", { class: "actions" }, el("button", { type: "button", class: "btn sm", onclick: () => post("/api/v1/models/revoke-code", { name })
      .then(() => { toast(t("Its code will no longer run.")); location.reload(); }).catch(showProblem) }, t("Revoke permission"))));
}

/** @param {any} code */
function drawCode(code) {
  const allow = el("button", { type: "button", class: "btn danger" }, t("Allow for this model"));
  allow.addEventListener("click", async () => {
    if (!(await ask(allow, t("Allow this code to run?"), t("Allow for this model")))) return;
    try {
      await post("/api/v1/models/allow-code", { name, sha256: code.sha256 });
      toast(t("Custom code allowed."));
      location.reload();
    } catch (problem) {
      showProblem(problem);
    }
  });
  const files = code.files.map((/** @type {any} */ f) => el("details", {}, el("summary", {}, f.name), el("pre", { tabindex: "0", "aria-label": f.name }, f.text)));
  $("#code").replaceChildren(card(t("This model includes custom code"),
    el("p", {}, t("It can do anything that you can do on this machine. Review it, then allow exactly these files or leave it blocked.")), ...files, el("div", { class: "row gap" }, allow)));
}

try {
  draw(await get(`/api/v1/models/${name}`));
} catch (/** @type {any} */ problem) {
  $("#facts").replaceChildren(problemNote(problem, () => location.reload()));
  get("/api/v1/models/code", { name }).then((code) => code.needed && drawCode(code)).catch(() => {});
}
