"""Text similarity scores between an answer and the expected one."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[㐀-鿿豈-﫿]|[^\W_]+", re.UNICODE)


def words(text: str) -> list[str]:
    """Split a text into lower-case words; each Chinese character is a word."""
    return _WORDS.findall(text.lower())


def exact(answer: str, expected: str) -> float:
    """1 if the two are equal up to surrounding whitespace, else 0."""
    return float(answer.strip() == expected.strip())


def rouge_l(answer: str, expected: str) -> float:
    """ROUGE-L F1 (Lin 2004), from the longest common subsequence of words; 0 to 1."""
    a, b = words(answer), words(expected)
    if not a or not b:
        return float(a == b)
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for j, other in enumerate(b, 1):
            here = row[j]
            row[j] = before + 1 if word == other else max(here, row[j - 1])
            before = here
    return 2 * row[-1] / (len(a) + len(b))
