// @ts-check
/**
 * Rows of a dataset as table cells. Every value is drawn as text.
 *
 *   leaves(value)            every text inside a value: [{path, text, who}]
 *   cell(value)              a <div> that shows them
 *   page(name, offset, …)    asks the REST API
 */
import { get } from "./api.js";
import { el } from "./dom.js";

/**
 * @param {any} value
 * @param {(string | number)[]} [path]
 * @param {string} [who]
 * @returns {{path: (string | number)[], text: string, who: string}[]}
 */
export function leaves(value, path = [], who = "") {
  if (value === null || typeof value !== "object") return [{ path, text: value === null ? "" : String(value), who }];
  if (Array.isArray(value)) return value.flatMap((item, n) => leaves(item, [...path, n], who));
  const speaker = value.role ?? value.from;
  return Object.entries(value).flatMap(([key, item]) => {
    if (speaker !== undefined && (key === "role" || key === "from")) return [];
    const name = speaker !== undefined && (key === "content" || key === "value") ? String(speaker) : key;
    return leaves(item, [...path, key], [who, name].filter(Boolean).join(" · "));
  });
}

/** @param {any} value */
export const cell = (value) => typeof value === "boolean" ? el("span", { class: `badge ${value ? "ok" : "failed"}` }, String(value)) : el("div", { class: "cell" }, ...leaves(value).map((leaf) =>
  el("div", { class: "leaf" }, leaf.who && el("span", { class: "who" }, leaf.who), leaf.text)));

/** @param {string} name @param {number} offset @param {number} limit @param {string} [q] */
export const page = (name, offset, limit, q = "") => get(`/api/v1/datasets/${name}/rows`, { offset, limit, q });
