"""Pieces of a row: every token once, no broken character, and the part that is cut in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers  # noqa: F401 - before any preview, so that this process keeps torch

from tunery.cli.main import main
from tunery.data.letters import grouped
from tunery.services.datasets import answer_preview

LONG = "one two three four five six seven eight nine ten " * 4


@pytest.fixture
def rows(tmp_path: Path) -> str:
    turn = {"role": "user", "content": "Hi <|im_end|>"}, {"role": "assistant", "content": "你好 😀"}
    file = tmp_path / "rows.jsonl"
    long = [{"role": "user", "content": "q"}, {"role": "assistant", "content": LONG}]
    both = [{"messages": [*turn]}, {"messages": long}, {"messages": [*turn, *long[:1], *turn[1:]]}]
    file.write_text("".join(json.dumps(row) + "\n" for row in both))
    return str(file)


def test_the_pieces_are_the_preview_and_hold_every_token_once(
    demo_home: Path, rows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer_preview(rows, ["--model.name", "demo"], row=1)
    assert main(["data", "preview", rows, "--model", "demo", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {key: found[key] for key in said} == said
    assert [i for piece in found["pieces"] for i in piece["ids"]] == said["input_ids"]
    assert [p for piece in found["pieces"] for p in [piece["trained"]] * len(piece["ids"])] == [
        bool(trained) for trained in said["loss_mask"]
    ]
    text = "".join(piece["text"] for piece in found["pieces"])
    assert text == said["text"]
    assert "😀" in text
    assert "�" not in text
    assert (found["row"], found["rows"], found["parts"]) == (1, 3, 1)


@pytest.mark.parametrize("how", ["truncate_right", "truncate_left"])
def test_the_cut_part_stands_in_its_place(demo_home: Path, rows: str, how: str) -> None:
    words = ["--model.name", "demo", "--data.max_length", "40", "--data.too_long", how]
    found = answer_preview(rows, words, row=2)
    kept = [i for p in found["pieces"] if not p.get("cut") for i in p["ids"]]
    assert kept == found["input_ids"]
    assert sum(len(p["ids"]) for p in found["pieces"] if p.get("cut")) == found["cut"] > 0
    whole = answer_preview(rows, ["--model.name", "demo"], row=2)
    assert "".join(p["text"] for p in found["pieces"]) == whole["text"]


def test_early_turns_that_are_dropped_are_the_cut_part(demo_home: Path, rows: str) -> None:
    whole = answer_preview(rows, ["--model.name", "demo"], row=3)
    words = ["--model.name", "demo", "--data.max_length", str(whole["total"] - 1)]
    found = answer_preview(rows, words, row=3)
    assert found["cut"] > 0
    assert [i for p in found["pieces"] if not p.get("cut") for i in p["ids"]] == found["input_ids"]
    assert "".join(p["text"] for p in found["pieces"]) == whole["text"]


def test_a_row_in_which_nothing_is_trained_is_said(demo_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "none.jsonl"
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "train": False},
    ]
    other = [messages[0], {"role": "assistant", "content": "b"}]
    rows = [{"messages": messages}, {"messages": other}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = answer_preview(str(file), ["--model.name", "demo"])
    assert found["trained"] == 0
    assert found["warnings"][0]["code"] == "untrained"


def test_bytes_of_one_character_are_one_piece() -> None:
    tokens = [(1, "a<0xF0><0x9F>", 1, False), (2, "<0x98>", 1, False), (3, "<0x80>b", 1, False)]
    assert grouped(tokens, start=5) == [
        {"text": "a😀b", "ids": [1, 2, 3], "position": 5, "trained": True, "special": False}
    ]
    broken = grouped([(1, "<0xF0>", 1, False), (2, "x", 1, False)], start=0)
    assert [piece["text"] for piece in broken] == ["�", "x"]
