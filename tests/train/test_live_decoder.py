"""A live model answers with the weights that it has now, in whatever state training left it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.train import tiny
from tests.train.adapters_made import livelier
from tests.unit.test_generate import reference
from transformers import AutoModelForCausalLM

from tunery.decode.decoder import Decoder
from tunery.models.ensure import ensure
from tunery.models.load import load_model, load_tokenizer

PROMPTS = [[5, 9, 30], [41, 7, 12, 8, 8, 3], [22]]
COUNT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return livelier(tiny.folder(tmp_path_factory.mktemp("base")))


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def with_lora(model: Any, **settings: Any) -> Any:
    torch.manual_seed(1)
    config = LoraConfig(
        r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False, **settings
    )
    return get_peft_model(model, config).eval()


def answers(decoder: Decoder) -> list[list[int]]:
    return [a.ids for a in decoder.answer(PROMPTS, stop_ids=(), max_tokens=COUNT)]


def expected(model: Any) -> list[list[int]]:
    return [reference(model, prompt, [], COUNT) for prompt in PROMPTS]


def is_fast(decoder: Decoder) -> bool:
    return decoder._probed and decoder._fast


@torch.no_grad()
def change(model: Any, name: str) -> None:
    for key, parameter in model.named_parameters():
        if name in key:
            parameter.add_(torch.randn_like(parameter), alpha=0.5 * float(parameter.std()))


def test_full_weights_that_changed_are_read_anew(folder: Path) -> None:
    model = load(folder)
    decoder = Decoder(model)
    before = answers(decoder)
    assert before == expected(model)
    for name in ("down_proj", "embed_tokens", "q_proj", "norm"):
        change(model, name)
        now = answers(decoder)
        assert now == expected(model), name
    assert now != before
    assert is_fast(decoder)


def test_an_adapter_that_was_trained_on_is_read_anew_and_can_be_off(folder: Path) -> None:
    model = with_lora(load(folder))
    decoder = Decoder(model)
    bare = expected(load(folder))
    before = answers(decoder)
    assert before == expected(model) != bare
    with model.disable_adapter():
        assert answers(decoder) == bare
    change(model, "lora_")
    after = answers(decoder)
    assert after == expected(model) != before
    assert is_fast(decoder)


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}], ids=str
)
def test_other_adapters_go_through_the_general_pass(folder: Path, settings: dict[str, Any]) -> None:
    model = with_lora(load(folder), **settings)
    decoder = Decoder(model)
    assert answers(decoder) == expected(model)
    change(model, "lora_")
    assert answers(decoder) == expected(model)
    assert not is_fast(decoder)


def test_nothing_is_left_on_the_model(folder: Path) -> None:
    model = load(folder)
    plain = model(torch.tensor([PROMPTS[1]])).logits
    for fast in (True, False):
        Decoder(model, fast=fast).answer(PROMPTS, stop_ids=(), max_tokens=3)
        assert not any("forward" in vars(module) for module in model.modules())
        assert torch.equal(model(torch.tensor([PROMPTS[1]])).logits, plain)


def test_the_demo_model_says_in_fp32_what_transformers_generate_says() -> None:
    base = ensure("demo").path
    tokenizer: Any = load_tokenizer(base)
    model = load_model(base, dtype=torch.float32, device="cpu")
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        for text in ("Who are you?", "What is the capital of France?", "你是谁？")
    ]
    decoder = Decoder(model)
    found = decoder.answer(prompts, stop_ids=[tokenizer.eos_token_id], max_tokens=24)
    wanted = [reference(model, prompt, [tokenizer.eos_token_id], 24) for prompt in prompts]
    assert [answer.ids for answer in found] == wanted
    assert is_fast(decoder)
