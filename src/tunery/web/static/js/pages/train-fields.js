// @ts-check
/**
 * The controls of the Train form by kind: read, fill, errors, reset, lists of names.
 * A `.setting` holds one control with data-path (the setting) and data-kind.
 */
import { $, $$, el, icon } from "../dom.js";
import { joined, t } from "../words.js";

/** The control of a setting. @param {any} setting @returns {any} */
export const control = (setting) => setting?.querySelector("[data-path]") ?? null;

/** What the chosen one of a field's choices means. @param {any} setting @returns {string} */
export function helpOfChoice(setting) {
  if (!setting.dataset.helps) return "";
  const chosen = setting.querySelector("input:checked") ?? control(setting);
  return JSON.parse(setting.dataset.helps)[chosen.value] ?? "";
}

/** The visible settings of a path. @param {string} path @returns {any[]} */
export const settingsOf = (path) =>
  $$(`[data-path="${CSS.escape(path)}"]`).map((each) => each.closest(".setting")).filter((each, at, all) => !each.hidden && all.indexOf(each) === at);

/** @param {any} input @returns {any} what the user entered */
export function read(input) {
  if (input.dataset.kind === "switch") return input.checked;
  return input.value;
}

/** @param {Record<string, {value: any}>} values */
export function showVariants(values) {
  for (const each of $$("[data-variant]")) {
    const { section, variant, switch: opens } = each.dataset;
    if (variant) each.hidden = values[`${section}.type`]?.value !== variant;
    else if (opens) each.hidden = !values[opens]?.value;
  }
}

/**
 * @param {string} path
 * @param {{value: any, origin: string}} shown
 * @param {(path: string) => void} reset
 * @param {string} preset label for a value set by a preset
 */
export function fillControl(path, shown, reset, preset) {
  for (const setting of settingsOf(path)) {
    const input = control(setting);
    setting.dataset.note = shown.origin === "preset" ? preset : "";
    const button = resetButton(setting, path, reset);
    button.hidden = shown.origin !== "set";
    if (input.dataset.kind === "names") drawNames(setting, input, shown.value);
    else if (input.type === "radio") {
      for (const radio of $$("input", setting)) radio.checked = radio.value === shown.value;
    } else if (input.dataset.kind === "switch") input.checked = Boolean(shown.value);
    else if (input !== document.activeElement || input.tagName === "SELECT") choose(input, shown.value);
  }
}

/** @param {any} input @param {any} value */
function choose(input, value) {
  const text = Array.isArray(value) ? value.join("\n") : String(value);
  if (input.tagName === "SELECT" && ![...input.options].some((option) => option.value === text)) {
    input.prepend(el("option", { value: text }, text));
  }
  if (input.value !== text) input.value = text;
}

/** @param {any} setting @param {string} path @param {(path: string) => void} reset */
function resetButton(setting, path, reset) {
  const found = setting.querySelector(".reset");
  if (found) return found;
  const made = el("button", { type: "button", class: "reset", onclick: () => reset(path) }, t("Reset"));
  const after = setting.querySelector(".sw") ?? setting.querySelector("legend");
  if (after.tagName === "LEGEND") after.append(made);
  else after.after(made);
  return made;
}

/** @param {any} setting @param {{message: string, fix: string, remedies?: any[]} | undefined} wrong @param {(remedy: any) => void} mend */
export function setError(setting, wrong, mend) {
  const place = $(".err", setting);
  const text = wrong && !setting.hidden ? joined(wrong.message, wrong.fix) : "";
  if ((place.dataset.text ?? "") !== text) {
    place.dataset.text = text;
    const buttons = (text && wrong?.remedies) || [];
    place.replaceChildren(text, ...(buttons.length ? [el("div", { class: "actions" }, ...buttons.map((/** @type {any} */ remedy) =>
      el("button", { type: "button", class: "btn sm", onclick: () => mend(remedy) }, remedy.label)))] : []));
  }
  for (const input of $$("[data-path]", setting)) {
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }
}

/** A list of names: chips with their weight (NAME*2), and a select that adds one. @param {any} setting @param {any} input @param {string[] | string} value */
function drawNames(setting, input, value) {
  const names = Array.isArray(value) ? value : String(value).split(/[\n,]/).map((name) => name.trim()).filter(Boolean);
  let box = setting.querySelector(".names");
  if (!box) {
    box = el("div", { class: "names" });
    input.before(box);
  }
  if (box.dataset.names === names.join("\n") && names.length) return;
  box.dataset.names = names.join("\n");
  const tell = (/** @type {string[]} */ now) => setting.dispatchEvent(new CustomEvent("names", { bubbles: true, detail: { path: input.dataset.path, names: now } }));
  box.replaceChildren(...names.map((written, at) => {
    const [, name, times] = /^(.*?)(?:\*(\d+))?$/.exec(written) ?? [];
    const weight = el("input", { inputmode: "numeric", value: times ?? "1", "aria-label": t("Repeats of {name}", { name }), onchange: () => {
      const count = Math.max(1, Number.parseInt(weight.value, 10) || 1);
      tell(names.map((each, index) => (index === at ? (count > 1 ? `${name}*${count}` : name) : each)));
    } });
    const remove = el("button", { type: "button", "aria-label": t("Remove {name}", { name }), onclick: () => {
      tell(names.filter((_, index) => index !== at));
      input.focus();
    } }, icon("close"));
    const count = times ?? "1"; // it stands in the field before the word
    const unit = el("span", { class: "times" }, t("{n} times", { n: count }).replace(count, "").trim());
    return el("span", {}, el("span", { class: "cut", title: name }, `${name},`), weight, unit, remove);
  }));
  input.value = "";
}

/** Another name than those listed: a text field in place of the select that adds names. @param {any} input @param {(name: string) => void} add */
function typeAnother(input, add) {
  const label = input.selectedOptions[0].textContent.replace("…", "");
  const back = () => {
    text.remove();
    input.hidden = false;
    input.value = "";
  };
  const text = el("input", { type: "text", spellcheck: "false", "aria-label": label, placeholder: t("File, folder or hf:owner/name"), onkeydown: (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") back();
    if (event.key === "Enter") text.blur();
  }, onblur: () => {
    const name = text.value.trim();
    back();
    if (name) add(name);
  } });
  input.hidden = true;
  input.after(text);
  text.focus();
}

/** A select whose last option allows typing; a select that adds to a list. */
document.addEventListener("change", (event) => {
  const input = /** @type {any} */ (event.target);
  if (input.tagName !== "SELECT" || !input.dataset.path) return;
  if (input.dataset.kind === "names" && input.value) {
    const add = (/** @type {string} */ name) => {
      const box = input.parentElement.querySelector(".names");
      const names = [...(box?.dataset.names ? box.dataset.names.split("\n") : []), name];
      input.dispatchEvent(new CustomEvent("names", { bubbles: true, detail: { path: input.dataset.path, names: [...new Set(names)] } }));
    };
    if (input.value === "\n") typeAnother(input, add);
    else add(input.value);
  } else if (input.value === "\n") {
    const text = el("input", { type: "text", id: input.id, name: input.name, placeholder: t("Name or folder"), spellcheck: "false", "aria-describedby": input.getAttribute("aria-describedby"), dataset: { path: input.dataset.path, kind: "text" } });
    input.replaceWith(text);
    text.focus();
  }
});

// A select that adds to a list, or is about to become a text field, has no value of its own.
document.addEventListener("input", (event) => {
  const input = /** @type {any} */ (event.target);
  if (input.tagName === "SELECT" && (input.dataset.kind === "names" || input.value === "\n")) event.stopPropagation();
}, true);

// The flag of the focused field, as written on a command line.
const flag = el("code", { class: "flag" });
document.addEventListener("focusin", (event) => {
  const setting = /** @type {any} */ (event.target).closest?.(".setting");
  flag.remove();
  if (!setting) return;
  flag.textContent = setting.dataset.flag;
  (setting.querySelector(".lab") ?? setting.querySelector(".sw"))?.append(flag);
});

/** Puts the cursor into the first field that says what is wrong. */
export function focusFirstError() {
  const setting = $$(".setting").find((each) => !each.hidden && $(".err", each).textContent);
  const folded = setting?.closest("details");
  if (folded) folded.open = true;
  if (setting) control(setting)?.focus();
}
