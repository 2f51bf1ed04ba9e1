// @ts-check
/**
 * The checker's findings, drawn in groups.
 *
 *   findings(groups, (row) => "/datasets/x?tab=rows&row=3" | null)  -> elements
 */
import { badge, el } from "./dom.js";
import { number, t } from "./words.js";

const KINDS = { stop: "bad", warn: "warn", note: "plain" };
const WORDS = { stop: "blocks a run", warn: "remark", note: "note" };

/**
 * @param {any[]} groups
 * @param {(row: number) => string | null} address
 * @param {(remedies: any[], done: () => void) => HTMLElement | false} [offers] makes the buttons of settings that a group's advice names
 * @returns {HTMLElement[]}
 */
export const findings = (groups, address, offers) => groups.map((group) => {
  const level = /** @type {"stop" | "warn" | "note"} */ (group.level);
  const more = group.count - group.examples.length;
  const fixes = new Set(group.examples.map((/** @type {any} */ each) => each.fix).filter(Boolean));
  const drawn = el("section", { class: "finding", "aria-label": group.code },
    el("h3", {}, badge(KINDS[level], t(WORDS[level])), group.code, el("span", { class: "muted" },
      group.count === 1 ? t("1 row") : t("{n} rows", { n: number(group.count) }))),
    el("ul", {}, ...group.examples.map((/** @type {any} */ each) => example(each, address)),
      more > 0 && group.examples.length > 1 && el("li", { class: "muted" }, t("and {n} more", { n: number(more) }))),
    ...[...fixes].slice(0, 2).map((fix) => el("p", { class: "small muted wrap" }, t("Fix: {fix}", { fix }))),
    group.elsewhere && el("p", { class: "small muted wrap" }, group.elsewhere),
    offers && offers(group.remedies ?? [], () => drawn.remove()));
  return drawn;
});

/** @param {any} each @param {(row: number) => string | null} address */
function example(each, address) {
  const href = each.row ? address(each.row) : null;
  const place = href ? el("a", { href }, each.place) : el("span", {}, each.place);
  return el("li", {}, place, ": ", each.found, each.excerpt && el("pre", { tabindex: "0" }, each.excerpt));
}
