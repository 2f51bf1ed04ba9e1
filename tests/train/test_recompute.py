"""Gradient checkpointing: packed rows keep their limits, and models without it are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.chat_model import make_chat_model
from tests.token_rows import of
from tests.train import tiny
from tests.train.architectures import gradients, plain_loss, random_rows, relative_error
from tests.train.miniatures import miniature
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from tunery.data.collate import collate
from tunery.errors import ConfigError
from tunery.models.architectures import causal_model_types, supports_checkpointing
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import shortcuts
from tunery.services.questions import plan
from tunery.train.assemble import Base, assemble
from tunery.train.data import RunData

PACKED = (
    "nemotron", "stablelm", "llama", "qwen3", "gemma3_text", "gpt2", "gpt_neox", "phi", "olmo2",
    "mixtral", "opt", "starcoder2", "cohere2", "glm4", "persimmon", "gpt_oss",
)  # fmt: skip
NO_DROPOUT: dict[str, dict[str, Any]] = {
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "opt": {"dropout": 0.0},
}
WITHOUT = ("cpmant", "ctrl", "gpt_neox_japanese", "jetmoe", "openai-gpt", "reformer", "xlnet")


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_batch_computed_again_gives_each_rows_own_gradient(kind: str) -> None:
    model = miniature(kind, **NO_DROPOUT.get(kind, {}))
    rows = random_rows()
    plain_loss(model, rows).backward()
    expected = gradients(model)
    assert shortcuts(model).packed
    model.train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    Policy(model).nll(collate(of(rows))).backward()
    assert relative_error(gradients(model), expected) <= 1e-5


def test_what_the_sources_say_is_what_the_classes_say() -> None:
    judged = 0
    for kind in sorted(causal_model_types()):
        found = supports_checkpointing(kind)
        if found is None:
            continue
        model: Any = AutoModelForCausalLM._model_mapping[CONFIG_MAPPING[kind]]  # pyright: ignore
        models = model if isinstance(model, tuple) else (model,)
        assert any(each.supports_gradient_checkpointing for each in models) is found, kind
        judged += 1
    assert judged > 120
    assert {kind for kind in WITHOUT if supports_checkpointing(kind) is False} == set(WITHOUT)


def test_a_plan_refuses_to_recompute_a_model_that_cannot(tmp_path: Path) -> None:
    model = make_chat_model(tmp_path / "model", kind="GPTNeoXJapanese")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "hi", "output": "yes"}\n{"instruction": "no", "output": "ja"}')
    words = [f"--model.name={model}", f"--data.train={rows}"]
    with pytest.raises(ConfigError, match="gpt_neox_japanese models cannot") as caught:
        plan([*words, "--train.gradient_checkpointing=true"])
    assert "Set it to false" in caught.value.fix
    assert plan([*words, "--train.gradient_checkpointing=false"])["rows"]["train"] == 2


def test_a_run_refuses_it_as_well(tmp_path: Path) -> None:
    place = tiny.context(tmp_path, tiny.config(train={"gradient_checkpointing": True}))
    data = RunData(rows=tiny._rows(tiny.rows()), tokenizer=tiny.tokenizer())  # pyright: ignore
    with place.events, pytest.raises(ConfigError, match="jetmoe models cannot"):
        assemble(place, data, Base(miniature("jetmoe"), "tiny"))
