"""Texts that people read in the page are whole; one that is too long for it says so."""

from __future__ import annotations

import pytest

from tunery.data.kinds import row_kind
from tunery.services.datasets import _columns
from tunery.services.evaluate import _evaluating
from tunery.types import Conversation, Example, Message, Text

LONG = "word " * 300 + "END"


def test_a_cell_of_a_new_file_is_whole_or_ends_in_an_ellipsis() -> None:
    row = {"number": 1, "values": {"a": LONG, "b": "x" * 5000}}
    whole, cut = _columns._raw(row, ["a", "b"])["cells"]
    assert whole == LONG
    assert cut == "x" * _columns.RAW_CHARACTERS + "…"


@pytest.mark.parametrize(
    "example", [Text("x" * 5000), Conversation((Message("user", "x" * 5000),))]
)
def test_a_text_of_a_preview_ends_in_an_ellipsis_where_it_is_cut(example: Example) -> None:
    shown = row_kind(example).shown(example)
    text = shown["text"] if "text" in shown else shown["messages"][0]["content"]
    assert text == "x" * 4000 + "…"


def test_a_text_that_is_evaluated_is_whole_in_the_table() -> None:
    assert _evaluating._empty(Text(LONG))["prompt"] == LONG
