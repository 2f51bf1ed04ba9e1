"""Answers of a live model against transformers' own generate, on tiny random models."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tunery.decode.decoder import Answer, Decoder
from tunery.engines.base import SamplingOptions

PROMPTS = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16, 17, 18, 19], [5, 6, 8, 9, 10], [3, 9]]
SHAPE = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def generate_all(model, prompts, *, max_new_tokens: int, **options) -> list[Answer]:
    return Decoder(model).answer(prompts, max_tokens=max_new_tokens, **options)


def generate(model, prompts, **options) -> list[list[int]]:
    return [answer.ids for answer in generate_all(model, prompts, **options)]


def make_model(kind: str) -> PreTrainedModel:
    torch.manual_seed(3)
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    elif kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16))
    elif kind == "gemma2":
        config = Gemma2Config(**SHAPE, head_dim=16, sliding_window=6, pad_token_id=0)
        model = Gemma2ForCausalLM._from_config(config, attn_implementation="eager")
    else:
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=97, n_embd=64, n_layer=2, n_head=4, n_positions=128)
        )
    with torch.no_grad():  # a fresh model repeats one token; a livelier one tells more
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return model.eval()


@pytest.fixture(scope="module", params=["llama", "qwen3", "gemma2", "gpt2"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return make_model(request.param)


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return make_model("llama")


def reference(model: PreTrainedModel, prompt: list[int], stop: list[int], count: int) -> list[int]:
    ids = torch.tensor([prompt])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=stop or None,
        pad_token_id=0,
    )
    answer = output[0, len(prompt) :].tolist()
    return answer[:-1] if answer[-1] in stop else answer


def test_a_greedy_batch_equals_transformers_generate_row_by_row(model):
    expected = [reference(model, prompt, [], 24) for prompt in PROMPTS]
    assert len({tuple(row) for row in expected}) > 3, "the test model says one thing"
    assert generate(model, PROMPTS, stop_ids=(), max_new_tokens=24) == expected


def test_rows_leave_at_their_stop_token_and_the_others_go_on(model):
    free = [reference(model, prompt, [], 24) for prompt in PROMPTS]
    stops = [free[0][3], free[2][7]]
    expected = [reference(model, prompt, stops, 24) for prompt in PROMPTS]
    answers = generate_all(model, PROMPTS, stop_ids=stops, max_new_tokens=24)
    assert [answer.ids for answer in answers] == expected
    assert len({len(ids) for ids in expected}) > 1
    for answer in answers:
        assert answer.ending == ("length" if len(answer.ids) == 24 else "stop")


def test_more_prompts_than_one_batch_holds_come_back_in_order(llama):
    prompts = [[1 + i % 7] * (1 + i % 5) + [20 + i] for i in range(70)]
    together = generate(llama, prompts, stop_ids=(), max_new_tokens=4)
    alone = [generate(llama, [p], stop_ids=(), max_new_tokens=4)[0] for p in prompts]
    assert together == alone


def test_tokens_are_told_as_they_come_and_without_the_stop_token(llama):
    told: dict[int, list[int]] = {i: [] for i in range(len(PROMPTS))}
    free = generate(llama, PROMPTS, stop_ids=(), max_new_tokens=9)
    stop = {free[1][4]}
    answers = generate(
        llama,
        PROMPTS,
        stop_ids=stop,
        max_new_tokens=9,
        on_token=lambda row, token: told[row].append(token),
    )
    assert [told[i] for i in range(len(PROMPTS))] == answers


def test_a_stop_request_keeps_what_was_said(llama):
    polls = iter([False, False, False, True])
    answers = generate_all(
        llama, [[5, 6]], stop_ids=(), max_new_tokens=50, should_stop=lambda: next(polls)
    )
    assert len(answers[0].ids) == 3
    assert answers[0].ending == "interrupted"


def test_a_drawn_answer_does_not_depend_on_its_neighbours(llama):
    hot = SamplingOptions(temperature=1.3, top_p=0.95, top_k=40, seed=7)
    alone = generate(llama, [PROMPTS[2]], stop_ids=(), max_new_tokens=16, sampling=hot)
    together = generate(llama, PROMPTS, stop_ids=(), max_new_tokens=16, sampling=hot)
    assert together[2] == alone[0]
    again = generate(llama, PROMPTS, stop_ids=(), max_new_tokens=16, sampling=hot)
    assert again == together


def test_each_row_may_have_its_own_sampling(llama):
    rows = [PROMPTS[0]] * 4
    seeds = [SamplingOptions(temperature=1.5, seed=seed) for seed in (1, 2, 1)]
    answers = generate(
        llama, rows, stop_ids=(), max_new_tokens=12, sampling=[*seeds, SamplingOptions()]
    )
    assert answers[0] == answers[2] != answers[1]
    assert answers[3] == reference(llama, PROMPTS[0], [], 12)


def test_the_repetition_penalty_equals_transformers_also_in_a_padded_batch(llama):
    expected = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        output = llama.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            repetition_penalty=1.4,
            max_new_tokens=16,
            eos_token_id=None,
            pad_token_id=0,
        )
        expected.append(output[0, len(prompt) :].tolist())
    sampling = SamplingOptions(repetition_penalty=1.4)
    assert generate(llama, PROMPTS, stop_ids=(), max_new_tokens=16, sampling=sampling) == expected


@pytest.mark.parametrize("wrong", ["empty", "training", "samplings"])
def test_wrong_requests_are_refused(llama, wrong):
    prompts = [[]] if wrong == "empty" else [[1, 2]]
    sampling = [SamplingOptions()] * 2 if wrong == "samplings" else SamplingOptions()
    llama.train(wrong == "training")
    try:
        with pytest.raises(ValueError):
            generate(llama, prompts, stop_ids=(), max_new_tokens=2, sampling=sampling)
    finally:
        llama.eval()
