"""A mixture of experts: the plan and the run say whether the router loss is added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families import family
from tests.train import tiny
from tests.train.miniatures import miniature
from tests.train.test_agreement import run_in_process

from tunery.chat.builtin import find
from tunery.config.adapters.lora import LoraConfig
from tunery.config.load import from_tokens
from tunery.errors import ConfigError
from tunery.models.router import router_loss
from tunery.runs.folder import RunFolder
from tunery.services import runs
from tunery.train import worker
from tunery.workers.log import read_events


def moe(folder: Path, *, asked: bool) -> Path:
    words = family("chatml")
    words.chat_template = find("chatml").text
    model = miniature("qwen3_moe", vocab_size=len(words), output_router_logits=asked)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("asked", [False, True])
def test_the_plan_and_the_run_say_it(
    asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNERY_HOME", str(tmp_path / "home"))
    base = moe(tmp_path / "moe", asked=asked)
    chats = tiny.chats(tmp_path / "chats.jsonl", 8)
    words = ["--model.name", str(base), "--data.train", str(chats)]
    words += ["--model.dtype", "fp32", "--model.device", "cpu"]
    told: list[str] = []
    runs.plan(from_tokens(words), trial=run_in_process, to=runs.Listener(warn=told.append))
    folder = tiny.prepared(
        "moe", base, chats,
        model={"name": str(base), "dtype": "fp32", "device": "cpu"},
        evaluate={"every": "never"},
        train={"batch_size": 4, "max_steps": 2},
        adapter={"type": "lora", "rank": 4},
    )  # fmt: skip
    assert worker.main([str(folder.path)]) == 0
    events = read_events(RunFolder(folder.path).events_file)[0]
    (warning,) = [e for e in events if e["type"] == "warning" and e["code"] == "router"]
    for text in (warning["text"], *[each for each in told if "experts" in each]):
        assert "router_aux_loss_coef 0.001" in text
        assert ("config.json enables" in text) is asked
    assert len([each for each in told if "experts" in each]) == 1


def test_transformers_adds_it_only_where_the_config_asks() -> None:
    ids = torch.arange(12)[None] % 7
    for asked in (False, True):
        model = miniature("qwen3_moe", output_router_logits=asked).eval()
        said = model(ids, labels=ids)
        alone = torch.nn.functional.cross_entropy(said.logits[0, :-1], ids[0, 1:])
        assert torch.isclose(said.loss, alone) == (not asked)
        assert router_loss(model.config)
    assert router_loss(miniature("llama").config) == ""


@pytest.mark.parametrize("kind", ["qwen3_moe", "mixtral", "olmoe"])
def test_dropout_on_stacked_experts_is_refused_with_a_sentence(kind: str) -> None:
    adapter: Any = LoraConfig(rank=4, dropout=0.1).make()
    with pytest.raises(
        ConfigError,
        match="which adapters with dropout do not support",
    ) as refused:
        adapter.attach(miniature(kind), adapter=None, base_name="")
    assert refused.value.fix == "Set adapter.dropout to 0."
    adapter = LoraConfig(rank=4).make()
    adapter.attach(miniature(kind), adapter=None, base_name="")
