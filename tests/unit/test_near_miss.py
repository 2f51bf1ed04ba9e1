"""`Did you mean X?` is said of near misses only."""

from __future__ import annotations

import pytest

from tunery.config.foreign import FOREIGN_VALUES
from tunery.config.methods import METHODS
from tunery.errors import did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("identty", ["identity", "general"], "identity"),
        ("kot.jsonl", ["kto.jsonl", "dpo.jsonl"], "kto.jsonl"),
        ("nope.jsonl", ["kto.jsonl", "dpo.jsonl"], ""),
        ("a.jsonl", ["b.jsonl"], ""),
        ("rows.json", ["rows.jsonl"], "rows.jsonl"),
        ("first-run", ["first-run", "second-run"], ""),
        ("first-run", ["first-run", "first-run-2"], "first-run-2"),
        ("", ["a"], ""),
    ],
)
def test_only_a_near_miss_is_proposed(name: str, known: list[str], meant: str) -> None:
    said = did_you_mean(name, known)
    assert said == (f"Did you mean {meant}?" if meant else "")


@pytest.mark.parametrize("name", ["grpo", "ppo", "rloo", "dapo"])
def test_a_method_that_is_not_here_yet_is_named(name: str) -> None:
    said = FOREIGN_VALUES["method.type", name]()
    assert "not supported yet" in said
    assert all(str(kind.model_fields["type"].default) != name for kind in METHODS)
