// @ts-check
/** What a rejected request says: a sentence, or the findings in a dataset as a list. */
import { el } from "./dom.js";
import { joined, t } from "./words.js";

/**
 * @param {any} problem as api.js throws it, or a `plan_error`
 * @returns {Node | string}
 */
export function refused(problem) {
  const { findings, dataset } = problem.params?.findings ? problem.params : problem;
  if (!findings?.length) return joined(problem.detail ?? problem.message, problem.fix);
  return el("div", {}, el("b", {}, t("{dataset} cannot be used:", { dataset })),
    el("ul", { class: "found" }, ...findings.map((/** @type {string} */ line) => el("li", {}, line))));
}
