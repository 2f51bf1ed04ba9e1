// @ts-check
/**
 * Small DOM helpers for the pages. Text is only ever inserted as text, never as HTML.
 *
 *   $("#id") / $$("tr", root)                first element, or throws / all elements
 *   el("a", {href, class: "btn", onclick}, "text", child)
 *   icon("tick")  badge("running", "Running")  bar(3, 10, "label")
 *   data("plan")                             the value written by {{ data("plan", …) }}
 *   root                                     the prefix that a proxy adds; url("/train") prepends it
 *   announce("…")                            announces it to screen readers, politely
 *   debounce(ms, f)                          runs f once, ms after the last call
 *   fieldError(name, text)                   shows or clears the error under a ui.field
 *   remember(key, value) / recall(key)       local storage of this browser (may be blocked)
 */

const meta = /** @type {HTMLElement} */ (document.querySelector('meta[name="tunery"]'));
/** Prefix of every path on this server, such as "/proxy/7860"; often empty. */
export const root = meta.dataset.root ?? "";
/** Hash of the static files that this page was made with. */
export const version = meta.dataset.version ?? "";
const assets = meta.dataset.static ?? "";

/** @param {string} path */
export const url = (path) => root + path;

/** @param {string} path a static file, such as "vendor/uplot/uPlot.min.css" */
export const asset = (path) => `${assets}/${path}`;

/**
 * @param {string} selector
 * @param {ParentNode} [from]
 * @returns {any}
 */
export function $(selector, from = document) {
  const found = from.querySelector(selector);
  if (!found) throw new Error(`no element ${selector}`);
  return found;
}

/**
 * @param {string} selector
 * @param {ParentNode} [from]
 * @returns {any[]}
 */
export const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];

/**
 * Create an element. Attributes that are null, undefined or false are left out, true becomes a
 * boolean attribute, "on…" a listener, "dataset" an object.
 *
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | number | null | undefined | false)} children
 * @returns {any}
 */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(made.dataset, value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) made.append(typeof child === "number" ? String(child) : child);
  }
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name an icon in icons.svg */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "i");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", asset(`icons.svg#${name}`));
  svg.append(use);
  return svg;
}

/** @param {string} status @param {string} text @param {string} [title] */
export const badge = (status, text, title) => el("span", { class: `badge ${status}`, title: title || null }, text);

/** @param {number | null} value null: in progress, with unknown progress @param {number} total @param {string} label */
export const bar = (value, total, label) =>
  el("progress", { class: "bar", max: total || 1, value, "aria-label": label });

/** @param {string} id */
export const data = (id) => JSON.parse($(`#${id}`).textContent);

let spoken = "";
/** @param {string} text announced once, even if given several times in a row */
export function announce(text) {
  if (text === spoken) return;
  spoken = text;
  $("#announcer").textContent = text;
}

/**
 * @template {any[]} A
 * @param {number} ms
 * @param {(...a: A) => void} run
 */
export function debounce(ms, run) {
  let timer = 0;
  return (/** @type {A} */ ...given) => {
    clearTimeout(timer);
    timer = window.setTimeout(() => run(...given), ms);
  };
}

/** @param {string} name a ui.field @param {string} text empty: no error */
export function fieldError(name, text) {
  const field = document.querySelector(`[data-field="${CSS.escape(name)}"]`);
  if (!field) return false;
  const place = $(".err", field);
  if (place.textContent !== text) place.textContent = text;
  for (const control of $$("input, select, textarea", field)) {
    if (text) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  }
  return true;
}

/** @param {string} key @param {unknown} value */
export function remember(key, value) {
  try {
    localStorage.setItem(`tunery:${root}:${key}`, JSON.stringify(value));
  } catch {
    // A private window may have no storage; the page works without it.
  }
}

/** @param {string} key @returns {any} the value stored by remember(), else null */
export function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(`tunery:${root}:${key}`) ?? "null");
  } catch {
    return null;
  }
}
