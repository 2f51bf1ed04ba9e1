"""A run that goes on from an adapter takes its shape, or says what contradicts it (A2)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chat_model import make_chat_model
from tests.train.adapters_made import adapter

from tunery.config.adapters.lora import LoraConfig
from tunery.config.load import from_tokens, read_frozen
from tunery.errors import ConfigError
from tunery.services import runs


@pytest.fixture
def words(home: Path, tmp_path: Path) -> list[str]:
    base = make_chat_model(tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter", r=3, lora_alpha=5)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "q", "output": "a"}\n' * 4)
    return ["--model.name", str(folder), "--data.train", str(rows), "--evaluate.every", "never"]


@pytest.mark.parametrize(
    "chosen", [[], ["--adapter.rank", "3"], ["--adapter.alpha", "5"], ["--adapter.dropout", "0"]]
)
def test_the_adapters_own_shape_is_taken_where_nothing_else_is_asked_for(
    words: list[str], chosen: list[str]
) -> None:
    folder = runs.prepare(from_tokens([*words, *chosen]))
    made = read_frozen(folder.config_file)
    assert made.adapter == LoraConfig(rank=3, alpha=5)


@pytest.mark.parametrize(
    ("chosen", "said", "fix"),
    [
        (["--adapter.rank", "8"], "adapter.rank is 8, but", "Set adapter.rank to 3, or use"),
        (["--adapter.alpha", "16"], "adapter.alpha is 16, but", "Set adapter.alpha to 5, or use"),
        (["--adapter.dropout", "0.1"], "adapter.dropout is 0.1, but", "Set adapter.dropout to 0,"),
        (
            ["--adapter.target_modules", "q_proj"],
            "adapter.target_modules is set",
            "Remove adapter.",
        ),
    ],
)
def test_a_contradiction_is_refused_before_anything_is_loaded(
    words: list[str], chosen: list[str], said: str, fix: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        runs.prepare(from_tokens([*words, *chosen]))
    assert caught.value.message.startswith(said)
    assert caught.value.fix.startswith(fix)
