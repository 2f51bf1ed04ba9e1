"""Every row that docs/data.md shows is read as what its section says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tunery.config import load
from tunery.config.data import DataConfig
from tunery.config.methods import METHODS
from tunery.data.examples import read
from tunery.data.formats import FORMATS
from tunery.data.kinds import row_kind
from tunery.types import Conversation, Labelled, Pair, Text

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
SECTIONS = {
    "Conversations": Conversation,
    "Texts": Text,
    "Pairs": Pair,
    "Labelled rows": Labelled,
    "Weights of rows": Conversation,
}
FILES = {"jsonl": Conversation, "jsonc": Conversation, "csv": Conversation, "txt": Text}


def shown() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        found += [(title, block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    return found


def test_the_page_shows_rows_of_every_kind() -> None:
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


def files() -> list[tuple[str, str]]:
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```([\w-]+)\n(.*?)```", page, re.DOTALL)
    return [(kind, block) for kind, block in blocks if kind not in ("json", "yaml")]


def test_the_page_shows_a_file_of_each_sort() -> None:
    assert [kind for kind, _ in files()] == list(FILES)


@pytest.mark.parametrize(("kind", "block"), files())
def test_a_file_of_the_page_is_read(tmp_path: Path, kind: str, block: str) -> None:
    file = tmp_path / f"rows.{kind if kind != 'jsonc' else 'json'}"
    file.write_text(block, encoding="utf-8")
    examples = read([str(file)], DataConfig())
    assert [type(example) for example in examples] == [FILES[kind]] * 2


def test_the_renamed_columns_of_the_page_are_read(tmp_path: Path) -> None:
    block = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    config = tmp_path / "train.yaml"
    config.write_text(block, encoding="utf-8")
    rows = tmp_path / "my.jsonl"
    rows.write_text('{"question": "Name a colour.", "answer": "Blue."}\n', encoding="utf-8")
    example = read([str(rows)], load.load([config]).config.data)[0]
    assert isinstance(example, Conversation)
    assert [message.content for message in example.messages] == ["Name a colour.", "Blue."]


def test_the_formats_of_the_page_are_all_there_are() -> None:
    named = set(re.findall(r"`--data\.format (\w+)`", PAGE.read_text(encoding="utf-8")))
    assert named <= set(FORMATS)
    assert {"alpaca", "sharegpt", "openai", "prompt_completion", "text"} <= named
