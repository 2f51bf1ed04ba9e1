"""The fast pass against transformers' own generate, in fp32: equal tokens, alone and in company."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from tests.chat_model import make_chat_model
from tests.engines.test_process_engine import make_lora
from tests.waiting import PATIENCE_SECONDS
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tunery.decode.fast.model import FastModel, Part, matches, understood
from tunery.decode.prompts import Prompt
from tunery.decode.scheduler import Scheduler
from tunery.decode.served import ServedModel
from tunery.engines.base import Delta, Ended, EngineEvent, GenerateRequest

PROMPTS = [[5, 6, 7], [9], list(range(3, 90)), [5, 6, 8, 9, 10] * 14]
SHAPE = {
    "vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
KINDS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "llama3": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=LLAMA3)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16)),
}


def make(kind: str) -> PreTrainedModel:
    torch.manual_seed(3)
    model = KINDS[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return model.eval()


def reference(model: PreTrainedModel, prompt: list[int], count: int) -> list[int]:
    ids = torch.tensor([prompt])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return output[0, len(prompt) :].tolist()


def answers(fast: FastModel, prompts: list[list[int]], count: int) -> list[list[int]]:
    rows = [fast.new_row() for _ in prompts]
    found: list[list[int]] = [[] for _ in prompts]
    left = prompts
    for _ in range(count):
        parts = [Part(row, ids) for row, ids in zip(rows, left, strict=True)]
        left = [[token] for token in fast.forward(parts).argmax(-1).tolist()]
        for mine, token in zip(found, left, strict=True):
            mine += token
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_equal_transformers_alone_and_together(kind: str) -> None:
    model = make(kind)
    assert understood(model)
    fast = FastModel(model)
    assert matches(fast, model)
    expected = [reference(model, prompt, 40) for prompt in PROMPTS]
    assert answers(fast, PROMPTS, 40) == expected
    assert [answers(fast, [prompt], 40)[0] for prompt in PROMPTS] == expected


def test_logits_are_the_same_bits_whoever_shares_the_batch() -> None:
    fast = FastModel(make("llama"))
    if not fast.row_bits:
        pytest.skip("without oneDNN's blocked product a row's sum depends on the batch")
    together = fast.forward([Part(fast.new_row(), prompt) for prompt in PROMPTS])
    for place, prompt in enumerate(PROMPTS):
        alone = fast.forward([Part(fast.new_row(), prompt)])
        assert torch.equal(alone[0], together[place])


def test_what_it_does_not_know_is_left_to_the_general_pass() -> None:
    assert not understood(
        GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=64, n_layer=1, n_head=4))
    )
    windowed = MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8))
    assert not understood(windowed)


def ask(scheduler: Scheduler, ids: list[int], adapter: str | None, count: int) -> list[int]:
    events: list[EngineEvent] = []
    done = threading.Event()

    def take(found: list[EngineEvent]) -> None:
        events.extend(found)
        if any(isinstance(event, Ended) for event in found):
            done.set()

    prompt = Prompt(ids, "", frozenset())
    request = GenerateRequest(prompt="", max_tokens=count)
    scheduler.submit(
        request, prompt, adapter=adapter, emit=take, failed=lambda error: done.set(), arrived=0.0
    )
    assert done.wait(PATIENCE_SECONDS)
    return [token for event in events if isinstance(event, Delta) for token in event.token_ids]


def test_an_adapter_gives_the_tokens_of_the_general_pass(tmp_path: Path) -> None:
    base = make_chat_model(tmp_path / "base")
    lora = make_lora(base, tmp_path / "lora")
    said = []
    for fast in (True, False):
        model = ServedModel(base, dtype="fp32", device="cpu", fast=fast)
        assert (model.fast is not None) == fast
        scheduler = Scheduler(model)
        name = model.attach(str(lora))
        if fast:
            assert model.pass_for(name) is model.fast
        ids = [40 + i for i in range(70)]
        said.append([ask(scheduler, ids, worn, 24) for worn in (name, None, name)])
        scheduler.close()
    assert said[0] == said[1]
    assert said[0][0] != said[0][1]
