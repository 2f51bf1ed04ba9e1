"""One of something is said in the singular, in the terminal and by the page's scripts alike."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest

from tunery import i18n
from tunery.i18n import COUNTED, t


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (t("{n} runs deleted ({size}).", n=1, size="2 KiB"), "1 run deleted (2 KiB)."),
        (t("{n} runs deleted ({size}).", n=2, size="2 KiB"), "2 runs deleted (2 KiB)."),
        (t("{n} runs deleted ({size}).", n="11", size="2 KiB"), "11 runs deleted (2 KiB)."),
        (t("{count} duplicates are removed.", count=1), "1 duplicate is removed."),
        (
            t("The {n} oldest messages were dropped to fit the model's context.", n=1),
            "The 1 oldest message was dropped to fit the model's context.",
        ),
        (
            t("The queue is full: {count} requests are waiting.", count=1),
            "The queue is full: 1 request is waiting.",
        ),
        (t("{good} of {rows} rows are OK.", good=1, rows=1), "1 of 1 row is OK."),
        (t("{good} of {rows} rows are OK.", good=1, rows=5), "1 of 5 rows are OK."),
        (t("{trained:,} of {total:,} parameters", trained=1, total=3), "1 of 3 parameters"),
    ],
)
def test_one_is_singular(said: str, expected: str) -> None:
    assert said == expected


def test_chinese_has_no_plural() -> None:
    with i18n.speaking("zh"):
        assert t("{n} runs", n=1) == t("{n} runs", n=2).replace("2", "1")


def test_no_sentence_counts_one_in_the_plural() -> None:
    """Every sentence with a number before a plural is understood, or stands here with a reason."""
    no_plural = {
        "is", "was", "has", "as", "its", "this", "does", "nats", "ms",  # no plurals
        "checkpoints",  # the place before it holds a size
        "access", "names", "numbers",  # verbs, or after a list
        "inputs", "parts", "positions",  # of a layer, a file or a model, which has many
        "digits",  # a limit of thousands
    }  # fmt: skip
    verbs = {
        "appears", "asks", "belongs", "comes", "contains", "describes", "drops", "ends", "exists",
        "expands", "looks", "marks", "needs", "overlaps", "points", "rejects", "renders",
        "responds", "resumes", "seems", "supports", "takes", "uses",
    }  # fmt: skip
    pattern = re.compile(r"\{\w+(?::[^}]*)?\} (?:(?!of |in |and |to |or |at )[a-z]+ )?([a-z]+s)\b")
    found = {
        word
        for part in (resources.files("tunery") / "locales" / "parts").iterdir()
        for sentence in json.loads(part.read_text("utf-8"))
        for word in pattern.findall(sentence)
    }
    assert sorted(found - no_plural - verbs - set(COUNTED)) == []


def test_the_scripts_count_the_same() -> None:
    script = (resources.files("tunery") / "web" / "static" / "js" / "words.js").read_text("utf-8")
    table = re.search(r"const COUNTED = \[(.*?)\]", script, re.DOTALL)
    assert table
    assert tuple(re.findall(r'"(\w+)"', table[1])) == COUNTED
