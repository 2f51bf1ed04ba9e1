"""Modules that settings or an adapter name: refused where they are none, gone on with (A1, A5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import tiny
from tests.train.adapters_made import adapter
from tests.train.miniatures import miniature
from tests.train.test_agreement import run_in_process

from tunery.config.adapters.lora import LoraConfig
from tunery.config.load import from_tokens
from tunery.errors import ConfigError
from tunery.kernels import lora
from tunery.models import load
from tunery.services import runs
from tunery.train import trial, worker

IDS = torch.randint(3, 299, (1, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["llama4_text", "roc_bert"])
def test_a_model_may_add_to_the_result_in_place(kind: str) -> None:
    """As these do; the fast layers give what PEFT's own give."""
    grads: list[list[torch.Tensor]] = []
    for fast in (True, False):
        found: Any = LoraConfig().make().attach(miniature(kind), adapter=None, base_name="base")
        found.train()
        (lora.install if fast else lora.uninstall)(found)
        for name, param in found.named_parameters():
            if "lora_B" in name:
                param.data.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
        torch.manual_seed(0)
        found(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
        grads.append([p.grad for p in found.parameters() if p.grad is not None])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target_modules": ["qproj"]}, "no module 'qproj'. Did you mean q_proj / "),
        ({"target_modules": ["all"]}, "all-linear"),
        ({"target_parameters": ["experts.up"]}, "no module 'experts.up'"),
    ],
)
def test_a_name_that_is_none_is_refused_with_those_there_are(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        LoraConfig(**settings).make().attach(miniature("llama"), adapter=None, base_name="b")
    assert said in str(caught.value)


def test_a_run_refuses_it_before_a_weight_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNERY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(load, "load_model", None)  # a call would be another error
    adapter = {"type": "lora", "target_modules": ["qproj"]}
    chats = tiny.chats(tmp_path / "chats.jsonl", 4)
    run = tiny.prepared("run", tiny.folder(tmp_path / "tiny"), chats, adapter=adapter)
    assert worker.main([str(run.path)]) == ConfigError.exit_status
    assert "no module 'qproj'" in tiny.events(run.path, "status")[-1]["reason"]


def test_a_plan_refuses_it_before_a_row_is_read(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "read_data", None)  # a call would be another error
    chats, base = tiny.chats(tmp_path / "chats.jsonl", 4), tiny.folder(tmp_path / "tiny")
    words = ["--data.train", str(chats), "--model.name", str(base)]
    words += ["--adapter.target_modules", "qproj"]
    with pytest.raises(ConfigError, match="no module 'qproj'"):
        runs.plan(from_tokens(words), trial=run_in_process)


def test_a_router_that_is_named_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="'router' cannot carry an adapter"):
        LoraConfig(target_modules=["router", "q_proj"]).make().attach(
            miniature("llama4_text"), adapter=None, base_name="b"
        )


@pytest.mark.parametrize("modules", [["lm_head"], ["embed_tokens", "lm_head"], ["norm"]])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_modules_trained_in_full_beside_an_adapter_are_gone_on_with(
    tmp_path: Path, modules: list[str], dtype: torch.dtype
) -> None:
    miniature("llama", tie_word_embeddings=False).save_pretrained(tmp_path / "base")
    folder = adapter(tmp_path / "base", tmp_path / "adapter", modules_to_save=modules)
    model = miniature("llama", dtype=dtype, tie_word_embeddings=False)
    found: Any = LoraConfig(rank=4).make().attach(model, adapter=folder, base_name="base")
    found.train()
    found(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    trained = {n: p for n, p in found.named_parameters() if p.requires_grad}
    assert all(param.grad is not None for name, param in trained.items() if "lora_A" not in name)
    assert {p.dtype for n, p in trained.items() if "lora_" in n} == {torch.float32}
    assert {p.dtype for n, p in trained.items() if "modules_to_save" in n} == {dtype}
