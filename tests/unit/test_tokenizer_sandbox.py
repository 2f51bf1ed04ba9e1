"""A tokenizer.json that crashes, hangs or floods its process is refused before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_panics import IN_USE, PLAIN

from tunery.chat.control import ControlTokens, Marked
from tunery.chat.encode import Encoder
from tunery.errors import DataError, ModelError
from tunery.models import load, tokenizer_sandbox

TWICE = {"type": "Replace", "pattern": {"Regex": "."}, "content": "aa"}
DOUBLING = {"normalizer": {"type": "Sequence", "normalizers": [TWICE] * 40}}
LONG = {"normalizer": {"type": "Sequence", "normalizers": [TWICE] * 13}}
"""8,192 times as long, which is allowed, but takes what it takes."""
SOME = {"type": "Replace", "pattern": {"String": "\u2603"}, "content": "\u2603" * 20}
RARELY = {"normalizer": {"type": "Sequence", "normalizers": [SOME] * 8}}
INFLATING = {
    "normalizer": {"type": "Replace", "pattern": {"Regex": "."}, "content": "a " * 500},
    "pre_tokenizer": {"type": "Whitespace"},
}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
EMPTY = {
    "normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "xx"},
    "pre_tokenizer": BYTES,
}
BOMB = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
BACKTRACKING = {"pre_tokenizer": BOMB}


def written(folder: Path, more: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(PLAIN | more))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (LONG, "needs more than .* of memory for a short text"),
        (DOUBLING, "can make a text millions of times as long"),
        (RARELY, "can make a text millions of times as long"),
        (INFLATING, "makes a flood of tokens"),
        (EMPTY, "crashes on a short text"),
        (IN_USE, "crashes on a single token"),
    ],
)
def test_a_hostile_tokenizer_is_refused_by_every_loader(
    more: dict[str, Any], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_sandbox, "MEMORY_FLOOR_BYTES", 100 * 2**20)
    with pytest.raises(ModelError, match=why) as refused:
        load.load_tokenizer(written(tmp_path / "model", more))
    assert refused.value.code == "tokenizer_refused"
    assert refused.value.fix.startswith("Download the model's own tokenizer files")


def test_one_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_sandbox, "CPU_SECONDS", 1)
    with pytest.raises(ModelError, match="does not finish splitting a short text"):
        tokenizer_sandbox.require(written(tmp_path / "model", LONG))


def test_what_passed_is_tried_once_by_its_content(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer_sandbox.require(written(tmp_path / "one", {}))
    (mark,) = (home / "cache" / "tokenizers").iterdir()
    monkeypatch.setattr(tokenizer_sandbox, "_tried", lambda file: pytest.fail("tried again"))
    tokenizer_sandbox.require(written(tmp_path / "same", {}))
    monkeypatch.setattr(tokenizer_sandbox, "_tried", lambda file: "it differs")
    with pytest.raises(ModelError, match="it differs"):
        tokenizer_sandbox.require(written(tmp_path / "other", {"truncation": None}))
    assert [mark] == list((home / "cache" / "tokenizers").iterdir())


def test_a_text_that_the_pattern_gives_up_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    tokenizer = load.load_tokenizer(written(tmp_path / "model", BACKTRACKING))
    encoder = Encoder(tokenizer, ControlTokens(tokenizer, ""))
    good, bad, half = Marked("a"), Marked("a" * 64 + "!"), Marked("a\ud83d")
    first, second, third, last = encoder.encode_many([good, bad, half, good])
    assert first == last == encoder.encode(good) == [0]
    assert isinstance(second, DataError)
    assert "a regular expression in its tokenizer.json needs too many steps" in second.message
    assert (second.code, isinstance(third, DataError) and third.code) == ("E114", "E113")
    with pytest.raises(DataError, match="too many steps"):
        encoder.encode(bad)
    for literal in (
        Marked("!" + "a" * 64 + "!", ((0, 66),)),
        Marked("b" + "a" * 64 + "!", ((0, 1),)),
    ):
        (found,) = encoder.encode_many([literal])
        assert isinstance(found, DataError)
        assert found.code == "E114"


def test_what_our_own_conversion_wrote_is_not_tried(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "converted", {"padding": None})
    tokenizer_sandbox.remember(folder)
    monkeypatch.setattr(tokenizer_sandbox, "_tried", lambda file: pytest.fail("tried"))
    tokenizer_sandbox.require(folder)
