"""Models that read what follows a token are refused, by their config and by trying them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.chat_model import make_chat_model
from tests.train import tiny
from tests.train.miniatures import miniature

from tunery.errors import ModelError
from tunery.models.causal import reads_ahead
from tunery.policy.causal import is_causal
from tunery.services.questions import plan
from tunery.train.assemble import Base, assemble
from tunery.train.data import RunData

CAUSAL = (
    "llama", "qwen3_moe", "gpt2", "opt", "bloom", "mamba2", "gemma3_text", "deepseek_v3",
    "mamba", "bert", "qwen3_next", "ctrl", "gpt_oss",
)  # fmt: skip
NOT_CAUSAL = (
    ("bert", {"is_decoder": False}),
    ("roberta", {"is_decoder": False}),
    ("electra", {}),
    ("xlm", {}),
    ("cpmant", {}),
    ("gemma3_text", {"use_bidirectional_attention": True}),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", CAUSAL)
def test_a_causal_model_is_found_to_be_one(kind: str, dtype: torch.dtype) -> None:
    model = miniature(kind, dtype=dtype)
    assert not reads_ahead(model.config.to_dict())
    assert is_causal(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("kind", "changes"), NOT_CAUSAL, ids=[kind for kind, _ in NOT_CAUSAL])
def test_a_model_that_reads_ahead_is_found_out(
    kind: str, changes: dict[str, bool], dtype: torch.dtype
) -> None:
    model = miniature(kind, dtype=dtype, **changes)
    assert reads_ahead(model.config.to_dict())
    assert not is_causal(model)


@pytest.mark.parametrize("kind", ["prophetnet", "xlnet"])
def test_a_model_whose_logits_depend_on_the_length_is_found_out(kind: str) -> None:
    model = miniature(kind)
    assert reads_ahead(model.config.to_dict())
    assert not is_causal(model)


def test_a_model_is_tried_once() -> None:
    class Kept(dict[str, object]):
        def recall(self, **question: object) -> object:
            return self.get(json.dumps(question))

        def keep(self, value: object, **question: object) -> None:
            self[json.dumps(question)] = value

    memory, model = Kept(), miniature("electra")
    assert not is_causal(model, memory)
    model.forward = None  # type: ignore[assignment]  # a second trial would fail
    assert not is_causal(model, memory)


def test_the_trial_leaves_gradients_and_random_numbers_as_they_were() -> None:
    model = miniature("llama").train()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert is_causal(model)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_plan_refuses_a_model_whose_config_says_so(tmp_path: Path) -> None:
    model = make_chat_model(tmp_path / "model", kind="Electra")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "hi", "output": "yes"}\n{"instruction": "no", "output": "ja"}')
    with pytest.raises(ModelError, match="is not causal"):
        plan([f"--model.name={model}", f"--data.train={rows}"])


def test_a_run_refuses_a_model_that_only_its_numbers_give_away(tmp_path: Path) -> None:
    place = tiny.context(tmp_path, tiny.config())
    data = RunData(rows=tiny._rows(tiny.rows()), tokenizer=tiny.tokenizer())  # pyright: ignore
    model = miniature("bert", is_decoder=False)
    with place.events, pytest.raises(ModelError, match="is not causal"):
        assemble(place, data, Base(model, "tiny"))
