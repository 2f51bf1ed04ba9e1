// @ts-check
/**
 * Train: keeps the draft (on the server; in the browser while the server is unreachable), shows the
 * run's plan, starts it. The form comes from the server; this file knows kinds, not settings.
 */
import { $, $$, announce, data, debounce, el, fieldError, recall, remember, url } from "../dom.js";
import { del, post, problemOf, put } from "../api.js";
import { busy, copy, showProblem, toast } from "../shell.js";
import { bytes, duration, joined, listed, number, percent, t } from "../words.js";
import { followJob } from "../job.js";
import { refused } from "../refused.js";
import { allowFolder } from "../remedies.js";
import { checkName, drawDiff, errorsShown, nameFits, note, runName, search } from "./train-parts.js";
import { control, fillControl, focusFirstError, helpOfChoice, read, setError, settingsOf, showVariants } from "./train-fields.js";

/** @type {any} the latest response of the server */
let state = data("train");
const presets = data("train-presets");
const name = state.draft.name;
const memory = `draft:${name}`;
/** @type {{preset: string | null, fields: Record<string, any>}} */
let draft = { preset: state.draft.preset, fields: { ...state.draft.fields } };
/** @type {any} */
let planned = null;
/** Whether a newer plan is being computed: the figures stay, greyed out. */
let stale = false;
/** @type {any} */
let planError = null;
let key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
let version = 0;
let saving = false;
let dirty = false;
let pressed = false; // Start: until then an empty form is not called wrong

// --- saving -------------------------------------------------------------------------------

/** @param {string} path @param {any} value undefined: reset to the default */
function set(path, value) {
  if (value === undefined) delete draft.fields[path];
  else draft.fields[path] = value;
  changed();
}

function changed() {
  version += 1;
  dirty = true;
  key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  remember(memory, draft);
  say("Saving…");
  saveSoon();
}

const saveSoon = debounce(350, () => save());

/** @param {string} [yaml] text of the YAML editor, instead of the fields */
async function save(yaml) {
  if (saving) return;
  saving = true;
  const mine = version;
  try {
    const answer = await put(`/api/v1/drafts/${encodeURIComponent(name)}`, { ...(yaml === undefined ? draft : { yaml }), plan: false });
    saving = false;
    if (mine !== version) return save();
    dirty = false;
    remember(memory, null);
    if (yaml !== undefined && !answer.yaml_error) draft = { preset: answer.draft.preset, fields: { ...answer.draft.fields } };
    $("#yaml-error").textContent = answer.yaml_error ? answer.yaml_error.message : "";
    apply(answer, yaml !== undefined);
    if (answer.planning) plan();
  } catch (error) {
    const problem = problemOf(error);
    saving = false;
    if (problem.code !== "offline" && problem.status !== 502 && problem.status !== 504) return showProblem(problem);
    say("Offline: saved in this browser");
    setTimeout(() => save(yaml), 2000);
  }
}

async function plan() {
  const mine = version;
  planError = null;
  stale = Boolean(planned);
  draw();
  try {
    const answer = await post(`/api/v1/drafts/${encodeURIComponent(name)}/plan`, {});
    if (mine !== version || answer.superseded) return;
    planned = answer.plan ? answer : null;
  } catch (error) {
    const problem = problemOf(error);
    if (mine !== version) return;
    if (problem.code === "offline") {
      setTimeout(plan, 2000);
      return;
    }
    planError = problem;
    planned = null;
  }
  stale = false;
  state.planning = false;
  draw();
}

/** Takes a few real steps in a separate job: no time limit, can be cancelled. */
async function measure() {
  if (dirty) await save();
  const mine = version;
  const place = $("#measuring");
  const job = await post(`/api/v1/drafts/${encodeURIComponent(name)}/measure`);
  await followJob(place, job.id, t("Measuring"), (result) => {
    place.replaceChildren();
    if (mine !== version) return;
    planned = result;
    draw();
  });
}

// --- drawing ------------------------------------------------------------------------------

/** @param {any} answer @param {boolean} [typing] in the YAML editor, whose text is not replaced */
function apply(answer, typing = false) {
  state = answer;
  if (answer.plan || !answer.can_plan) planned = answer.plan ? answer : null;
  stale = Boolean(planned) && !answer.plan;
  planError = answer.plan_error ?? null;
  showVariants(state.values);
  $(".titles").textContent = [...new Set($$(".part").filter((part) => !part.hidden).map((part) => $("h3", part).textContent))].join(" · ");
  for (const [path, shown] of Object.entries(state.values)) fillControl(path, shown, reset, t("Set by the preset."));
  for (const chip of $$("[data-preset]")) chip.setAttribute("aria-pressed", String(chip.dataset.preset === (draft.preset ?? "")));
  $("#preset-about").textContent = presets[draft.preset ?? ""] ?? "";
  drawBlanks();
  if (!typing) $("#yaml").value = state.yaml;
  drawDiff(state.diff);
  drawCommand();
  draw();
}

/** @param {string} sentence @param {Record<string, unknown>} [values] */
function say(sentence, values) {
  const text = t(sentence, values);
  if ($("#draft-state").textContent !== text) $("#draft-state").textContent = text;
}

function draw() {
  const errors = errorsShown(state, draft.fields, pressed);
  for (const setting of $$(".setting")) setError(setting, errors[control(setting)?.dataset.path ?? ""], mend);
  const wrong = Object.keys(errors).length;
  if (!dirty) {
    if (wrong) say(wrong === 1 ? "1 field to fix" : "{n} fields to fix", { n: wrong });
    else say("Draft saved");
  }
  const plan = planned?.plan;
  const waits = state.planning && !plan && !planError;
  const blank = waits ? "…" : "–";
  for (const list of $$(".stick dl.kv")) list.classList.toggle("waiting", !plan || stale);
  /** @param {string} id @param {string} text */
  const put = (id, text) => ($(`#p-${id}`).textContent = plan ? text : blank);
  const rows = plan?.rows ?? {};
  const many = rows.held_out ? t("{n} + {held} validation", { n: number(rows.train), held: number(rows.held_out) }) : number(rows.train);
  put("rows", rows.repeated ? t("{rows} ({used} distinct)", { rows: many, used: number(rows.used) }) : many);
  put("tokens", plan && `${plan.tokens.estimated ? "≈ " : ""}${number(plan.tokens.all)}`);
  put("share", plan && percent(plan.tokens.trained / Math.max(1, plan.tokens.all)));
  put("batch", plan && number(plan.steps.batch_size));
  put("updates", plan && number(plan.steps.all));
  const [need, there] = [bytes(plan?.memory.total), bytes(plan?.memory.available)];
  const of = { need: need.split(" ")[1] === there.split(" ")[1] ? need.split(" ")[0] : need, there };
  put("memory", plan && t(plan.memory.measured ? "{need} / {there}" : "≈ {need} / {there}", of));
  const meter = $("#p-bar");
  meter.value = plan ? Math.min(1, plan.memory.total / Math.max(1, plan.memory.available)) : 0;
  meter.classList.toggle("warn", Boolean(plan) && !plan.fits);
  put("time", plan && (plan.seconds === null ? t("unknown") : t("≈ {time}", { time: duration(plan.seconds) })));
  $("#measured").textContent = !plan ? "" : plan.memory.measured ? t("Measured.") : plan.speed.from ? t("as in run {run}", { run: plan.speed.from }) : "";
  $("#measure").disabled = !plan || stale || $("#measure").hasAttribute("aria-busy");
  for (const setting of $$(".setting")) {
    const help = $(".help", setting);
    help.dataset.text ??= setting.dataset.about ?? help.textContent;
    const hint = planned?.hints[control(setting)?.dataset.path ?? ""];
    help.textContent = [help.dataset.text, helpOfChoice(setting), setting.dataset.note, hint].filter(Boolean).join(" ");
  }
  drawNotes();
  drawStart();
}

/** @param {string} kind @param {Node | string} text @param {any[]} remedies */
const noteOf = (kind, text, remedies) => note(kind, text, remedies, mend);

function drawNotes() {
  const notes = [];
  const general = state.errors[""];
  if (general) notes.push(noteOf("bad", joined(general.message, general.fix), []));
  if (state.empty.length) {
    const dataset = state.blanks.find((/** @type {any} */ b) => !b.value)?.dataset ?? "";
    notes.push(noteOf("warn", t("{dataset} has placeholders to fill in", { dataset }) + `: ${state.empty.map((/** @type {string} */ n) => `{{${n}}}`).join(" ")}`, [{ action: "fill", label: t("Fill in") }]));
  }
  if (planError) notes.push(noteOf("bad", refused(planError), planError.remedies ?? []));
  for (const [path, wrong] of Object.entries(errorsShown(state, draft.fields, pressed))) {
    if (wrong.remedies?.length && !settingsOf(path).some((each) => each.checkVisibility())) notes.push(noteOf("bad", wrong.message, wrong.remedies));
  }
  for (const remark of state.notes) notes.push(noteOf(remark.kind, remark.text, remark.remedies));
  for (const remark of (stale ? null : planned?.remarks) ?? []) notes.push(noteOf(remark.kind, remark.text, remark.remedies));
  const said = new Set(); // one cause is shown once, however many fields it is about
  $("#notes").replaceChildren(...notes.filter((each) => !said.has(each.textContent) && said.add(each.textContent)));
}

/** @param {any} remedy */
function mend(remedy) {
  if (remedy.action === "set") {
    for (const [path, value] of Object.entries(remedy.set)) draft.fields[path] = typeof value === "number" ? String(value) : value;
    changed();
  } else if (remedy.action === "preset") {
    draft = { preset: remedy.preset, fields: { ...draft.fields, ...remedy.set } };
    for (const path of remedy.unset) delete draft.fields[path];
    changed();
  } else if (remedy.action === "fill") {
    $$("#blanks input").find((input) => !input.value)?.focus();
  } else if (remedy.action === "download") fetchModel(remedy.model);
  else if (remedy.action === "allow_folder") {
    allowFolder(remedy).then(() => changed()).catch(showProblem);
  }
}

let fetching = "";
/** Downloads a model; an earlier download is resumed, and the Models page shows the same job. @param {string} model */
async function fetchModel(model) {
  if (fetching) return;
  fetching = model;
  drawStart();
  const title = t("Downloading {name}…", { name: model });
  await post("/api/v1/downloads", { name: model })
    .then((job) => followJob($("#fetching"), job.id, title, () => $("#fetching").replaceChildren()))
    .catch(showProblem);
  fetching = "";
  changed();
}

/** The label of Start, and what it does if it cannot start yet. @returns {[string, (() => void) | null]} */
function missing() {
  const wrong = Object.keys(state.errors).filter((path) => path !== "data.train" || state.values[path]?.value.length);
  if (wrong.length) return [wrong.length === 1 ? t("1 field to fix") : t("{n} fields to fix", { n: wrong.length }), focusFirstError];
  if (state.errors["data.train"]) return [t("Choose a dataset"), () => control(settingsOf("data.train")[0])?.focus()];
  if (state.empty.length) return [t("Fill in {names}", { names: listed(state.empty) }), () => mend({ action: "fill" })];
  if (!nameFits()) return [t("1 field to fix"), () => $("#f-run-name").focus()];
  if (fetching) return [t("Downloading {name}…", { name: fetching }), () => $("#fetching").scrollIntoView({ block: "center" })];
  if (state.fetch) return [t("Download {model} first", { model: state.fetch }), () => mend({ action: "download", model: state.fetch })];
  if (planError) return [t("See the message above"), () => $("#notes").scrollIntoView({ block: "center" })];
  return ["", null];
}

function drawStart() {
  const start = $("#start");
  if (start.hasAttribute("aria-busy")) return;
  const [text] = missing();
  start.classList.toggle("pri", !text); // it still jumps to what is missing
  start.textContent = text || (state.ahead ? t("Start (queued, {n} ahead)", { n: state.ahead }) : t("Start training"));
}

function drawBlanks() {
  const box = $("#blanks");
  const names = state.blanks.map((/** @type {any} */ blank) => blank.name).join();
  box.hidden = !names;
  if (box.dataset.names === names) {
    for (const blank of state.blanks) {
      const input = $(`[data-blank="${CSS.escape(blank.name)}"]`, box);
      if (input !== document.activeElement) input.value = blank.value;
    }
    return;
  }
  box.dataset.names = names;
  const fields = state.blanks.map((/** @type {any} */ blank) => {
    const id = `b-${blank.name}`;
    const input = el("input", { id, type: "text", dataset: { blank: blank.name }, value: blank.value, "aria-describedby": `${id}-help`, spellcheck: "false", oninput: fillBlanks });
    return el("div", { class: "f" }, el("div", { class: "lab" }, el("label", { for: id }, `{{${blank.name}}}`)), input,
      el("div", { class: "help", id: `${id}-help` }, t("Appears {n} times in {dataset}.", { n: blank.places, dataset: blank.dataset })));
  });
  box.replaceChildren(el("h3", {}, t("Fill in")), el("div", { class: "form" }, ...fields));
}

function fillBlanks() {
  const known = String(state.values["data.variables"]?.value ?? "").split("\n").map((line) => line.split(/:\s*(.*)/s));
  const table = Object.fromEntries(known.filter(([, value]) => value));
  for (const input of $$("#blanks input")) table[input.dataset.blank] = input.value;
  const filled = Object.entries(table).filter(([, value]) => value.trim());
  set("data.variables", filled.length ? Object.fromEntries(filled) : undefined);
}

function drawCommand() {
  const called = nameFits() && runName() ? ` --name ${runName()}` : "";
  $(".copybox pre").textContent = state.command + called;
}

// --- actions ------------------------------------------------------------------------------

/** @param {string} path */
function reset(path) {
  set(path, undefined);
  announce(t("Reset"));
}

async function start() {
  const [text, act] = missing();
  pressed = true;
  if (text) draw();
  if (text) return act?.();
  const button = $("#start");
  button.textContent = t("Starting…");
  try {
    if (dirty) await save();
    const made = await busy(button, post("/api/v1/runs", { draft: name, name: runName() || null }, { headers: { "Idempotency-Key": key } }));
    remember(`name:${name}`, null);
    location.assign(url(`/runs/${encodeURIComponent(made.name)}`));
  } catch (error) {
    const problem = problemOf(error);
    if (runName() && problem.params?.run === runName()) {
      fieldError("run-name", joined(problem.detail, problem.fix));
      draw();
      return $("#f-run-name").focus();
    }
    planError = problem;
    draw();
    $("#notes").scrollIntoView({ block: "nearest" });
  }
}

$("#settings").addEventListener("input", (/** @type {any} */ event) => {
  const target = event.target;
  if (target.dataset.path) set(target.dataset.path, read(target));
});
$("#settings").addEventListener("names", (/** @type {any} */ event) => set(event.detail.path, event.detail.names));
$("#settings").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
$("#settings").addEventListener("click", (/** @type {any} */ event) => {
  const chip = event.target.closest("[data-preset]");
  if (chip) {
    draft = { preset: chip.dataset.preset || null, fields: keptBy() };
    changed();
  }
  const back = event.target.closest("[data-reset]");
  const path = back && control(back.closest(".setting"))?.dataset.path;
  if (path) reset(path);
});

/** What a new preset does not change: the model, the datasets and how they are read. */
function keptBy() {
  return Object.fromEntries(Object.entries(draft.fields).filter(([path]) => /^(model|data)\.(?!replay\.)/.test(path)));
}

$("#find").addEventListener("input", search);
$("#f-run-name").value ||= recall(`name:${name}`) ?? "";
$("#f-run-name").addEventListener("input", () => {
  remember(`name:${name}`, $("#f-run-name").value);
  key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`; // a different run, so a different request
  checkName();
  drawCommand();
  drawStart();
});
$("#start").addEventListener("click", start);
$("#measure").addEventListener("click", () => busy($("#measure"), measure()).catch(showProblem));
$("#yaml").addEventListener("input", debounce(600, () => {
  version += 1;
  dirty = true;
  save($("#yaml").value);
}));
$("#yaml-copy").addEventListener("click", () => copy($("#yaml").value));
$("#yaml-export").addEventListener("click", () => {
  const link = el("a", { href: URL.createObjectURL(new Blob([$("#yaml").value], { type: "text/yaml" })), download: `${name}.yaml` });
  link.click();
  URL.revokeObjectURL(link.href);
});
$("#yaml-import").addEventListener("change", async (/** @type {any} */ event) => {
  const file = event.target.files[0];
  if (!file) return;
  $("#yaml").value = await file.text();
  event.target.value = "";
  version += 1;
  save($("#yaml").value);
});
$("#draft-new").addEventListener("click", async () => {
  const wanted = $("#draft-name").value.trim();
  const made = await post("/api/v1/drafts", { name: wanted === name ? "" : wanted }).catch(showProblem);
  if (made) location.assign(`${url("/train")}?draft=${encodeURIComponent(made.draft.name)}`);
});
$("#draft-rename").addEventListener("click", async () => {
  const to = $("#draft-name").value.trim();
  if (!to || to === name) return $("#draft-name").focus();
  if (dirty || !state.draft.updated) await save();
  const made = await post(`/api/v1/drafts/${encodeURIComponent(name)}/rename`, { to }).catch(showProblem);
  if (made) location.assign(`${url("/train")}?draft=${encodeURIComponent(to)}`);
});
$("#draft-delete").addEventListener("click", async () => {
  if (state.draft.updated) await del(`/api/v1/drafts/${encodeURIComponent(name)}`).catch(showProblem);
  remember(memory, null);
  toast(t("Deleted."), { undo: async () => { await put(`/api/v1/drafts/${encodeURIComponent(name)}`, draft); location.reload(); } });
  draft = { preset: null, fields: {} };
  const answer = await post("/api/v1/drafts", { name }).catch(showProblem);
  if (answer) apply({ ...answer, plan: null, planning: false });
});

const unsent = recall(memory);
if (unsent) draft = unsent;
apply(state);
if (unsent) changed();
else if (state.can_plan) plan();
