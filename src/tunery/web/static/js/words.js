// @ts-check
/**
 * Sentences in the language of the page.
 *
 * The template lists the sentences of its scripts: {{ words("Stop", "{n} rows") }}. Here,
 * t("{n} rows", {n: 3}) returns the translation with its values filled in. A sentence that no
 * template lists is shown in English, so list it.
 *
 *   t(sentence, values)   number(1930) -> "1,930"   bytes(269e6) -> "256.5 MiB"
 *   duration(208) -> "3 min 28 s"   percent(0.566) -> "57 %"
 */

/** @type {Record<string, string>} */
const table = {};
for (const block of document.querySelectorAll("script[data-words]")) {
  Object.assign(table, JSON.parse(block.textContent ?? "{}"));
}

/**
 * @param {string} sentence
 * @param {Record<string, unknown>} [values]
 */
export function t(sentence, values = {}) {
  const known = table[sentence] ?? sentence;
  return (known === sentence ? agreed(sentence, values) : known).replace(/\{(\w+)\}/g, (whole, name) =>
    name in values ? String(values[name]) : whole);
}

const COUNTED = [
  "answers", "blanks", "bytes", "characters", "columns", "consents", "cores", "days", "dimensions", "downloads", "duplicates",
  "evaluations", "fields", "files", "groups", "items", "keys", "layers", "letters", "levels", "lines", "members", "messages",
  "minutes", "models", "notes", "ones", "parameters", "placeholders", "places", "problems", "prompts", "questions", "records",
  "remarks", "requests", "rows", "runs", "seconds", "sequences", "shards", "steps", "tags", "tensors", "times", "tokens",
  "topics", "updates", "values", "warnings", "weights",
];
const COUNT = new RegExp(String.raw`\{(\w+)\} (?:(?!of |in |and |to |or |at |for |the )[a-z]+ )?(?:${COUNTED.join("|")})\b(?: (?:are|were|have|wait)\b)?`, "g");
/** @type {Record<string, string>} */
const ONE = { are: "is", were: "was", have: "has", wait: "waits" };

/** A count of one uses the singular, as in tunery.i18n. @param {string} english @param {Record<string, unknown>} values */
function agreed(english, values) {
  return english.replace(COUNT, (found, name) => {
    if (String(values[name]) !== "1") return found;
    const [last, ...before] = found.split(" ").reverse();
    if (ONE[last]) before[0] = before[0].replace(/s$/, "");
    return [ONE[last] ?? last.replace(/s$/, ""), ...before].reverse().join(" ");
  });
}

const inChinese = document.documentElement.lang.startsWith("zh");
const ENDED = /[.!?:;,…。！？：；，]["')\]”’」』）]*$/;
const CLOSED_WIDE = /[。！？：；，][”’」』）]*$/;

/** Sentences in a row, each but the last ended, as in tunery.i18n. @param {(string | null | undefined)[]} sentences */
export function joined(...sentences) {
  return sentences.filter(Boolean).map(String).reduce((text, next) => {
    const ended = !text || ENDED.test(text) ? text : text + (inChinese && /[\u4e00-\u9fff]/.test(text) ? "。" : ".");
    return ended && !CLOSED_WIDE.test(ended) ? `${ended} ${next}` : ended + next;
  }, "");
}

/** Names one after the other, with the comma of the page's language. @param {string[]} names */
export const listed = (names) => names.join(inChinese ? "、" : ", ");

/** @param {number | null | undefined} value @param {number} [digits] */
export function number(value, digits) {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return String(value);
  if (digits !== undefined) {
    return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  if (Math.abs(value) < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e");
  return number(value, Math.abs(value) < 100 ? 3 : 1);
}

/** @param {number | null | undefined} share a fraction from 0 to 1 */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  const exact = 100 * share;
  return `${exact >= 9.95 ? exact.toFixed(0) : Number(exact.toPrecision(2))} %`;
}

/** @param {number | null | undefined} count */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let left = count;
  for (const unit of ["B", "KiB", "MiB"]) {
    if (Math.abs(left) < 1024) return unit === "B" ? `${left.toFixed(0)} B` : `${left.toFixed(1)} ${unit}`;
    left /= 1024;
  }
  return `${left.toFixed(1)} GiB`;
}

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const whole = Math.round(seconds);
  const [d, h, m, s] = [Math.floor(whole / 86400), Math.floor(whole / 3600), Math.floor(whole / 60), whole % 60];
  if (whole < 60) return t("{n} s", { n: whole });
  if (whole < 3600) return t("{m} min {s} s", { m, s });
  if (whole < 86400) return t("{h} h {m} min", { h, m: m % 60 });
  return t("{d} d {h} h", { d, h: h % 24 });
}
