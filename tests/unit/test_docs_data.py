"""Every row that docs/data.md shows is read as what its section says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tunery.config.data import DataConfig
from tunery.config.methods import METHODS
from tunery.data.examples import read
from tunery.data.kinds import row_kind
from tunery.types import Labelled, Pair

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
SECTIONS = {"Pairs": Pair, "Labelled rows": Labelled}


def shown() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        found += [(title, block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    return found


def test_the_page_shows_rows_of_both_kinds() -> None:
    assert {title for title, _ in shown()} == set(SECTIONS)


@pytest.mark.parametrize(("title", "block"), shown())
def test_a_row_of_the_page_is_read_as_its_section_says(
    tmp_path: Path, title: str, block: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(json.loads(block)) + "\n", encoding="utf-8")
    example: Any = read([str(file)], DataConfig())[0]
    assert type(example) is SECTIONS[title]
    assert not [f for f in row_kind(example).findings(example) if f.code.startswith("E")]


def test_the_methods_of_the_page_learn_from_these_rows() -> None:
    named = dict(re.findall(r"\| (\w[\w ]*) \|.*`--method\.type (\w+)` \|", PAGE.read_text()))
    rows = {method.model_fields["type"].default: method.rows for method in METHODS}
    for words, kind in (
        ("conversations", "conversation"),
        ("texts", "text"),
        ("pairs", "pair"),
        ("labelled rows", "labelled"),
    ):
        assert rows[named[words]] == kind
