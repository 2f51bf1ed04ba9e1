// @ts-check
/**
 * Finds the words that two texts do not share, to mark them. The browser splits Chinese into words.
 *
 *   marked(text, other) -> [{text, differs}]   pieces of `text` in order
 */

const MOST = 1500; // words: the table below grows quadratically

/** @param {string} text @returns {string[]} words, spaces and punctuation; joined they are the text */
function words(text) {
  const lang = document.documentElement.lang;
  if ("Segmenter" in Intl) {
    return [...new Intl.Segmenter(lang, { granularity: "word" }).segment(text)].map((piece) => piece.segment);
  }
  return text.match(/\s+|[\p{Script=Han}]|[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu) ?? [];
}

/**
 * @param {string} text
 * @param {string} other
 * @returns {{text: string, differs: boolean}[]}
 */
export function marked(text, other) {
  const a = words(text);
  const b = words(other);
  if (a.length > MOST || b.length > MOST) return [{ text, differs: false }];
  const common = longest(a, b);
  /** @type {{text: string, differs: boolean}[]} */
  const pieces = [];
  a.forEach((word, i) => {
    const differs = !common.has(i) && word.trim() !== "";
    const last = pieces.at(-1);
    if (last && last.differs === differs) last.text += word;
    else pieces.push({ text: word, differs });
  });
  return pieces;
}

/** @param {string[]} a @param {string[]} b @returns {Set<number>} indices in `a` of a longest common subsequence */
function longest(a, b) {
  const wide = b.length + 1;
  const table = new Uint16Array((a.length + 1) * wide);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i * wide + j] = a[i] === b[j]
        ? table[(i + 1) * wide + j + 1] + 1
        : Math.max(table[(i + 1) * wide + j], table[i * wide + j + 1]);
    }
  }
  const found = new Set();
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) {
      found.add(i);
      i += 1;
      j += 1;
    } else if (table[(i + 1) * wide + j] >= table[i * wide + j + 1]) i += 1;
    else j += 1;
  }
  return found;
}
