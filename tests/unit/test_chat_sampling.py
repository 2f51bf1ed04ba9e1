"""Drawing tokens: the kept set is transformers', the frequencies are the distribution's."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from tunery.decode.choose import TokenChooser, draw, penalized
from tunery.engines.base import SamplingOptions
from tunery.errors import EngineError
from tunery.services.chat import choose_sampling

CASES = [
    SamplingOptions(temperature=1.0),
    SamplingOptions(temperature=0.6, top_p=0.8),
    SamplingOptions(temperature=1.5, top_k=7),
    SamplingOptions(temperature=1.2, top_k=50, top_p=0.7),
    SamplingOptions(temperature=3.0, top_p=0.999),
]


def logits() -> torch.Tensor:
    return torch.randn(1000, generator=torch.Generator().manual_seed(5)) * 3


def expected(scores: torch.Tensor, sampling: SamplingOptions) -> torch.Tensor:
    scores = TemperatureLogitsWarper(sampling.temperature)(None, scores[None])
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    return scores[0].softmax(-1)


@pytest.mark.parametrize("sampling", CASES, ids=str)
def test_draws_follow_the_distribution_that_transformers_makes(sampling):
    scores, generator = logits(), random.Random(1)
    wanted = expected(scores, sampling)
    count = 4000
    found = torch.zeros_like(wanted)
    for _ in range(count):
        found[draw(scores, sampling, generator.random())[0]] += 1
    assert bool((wanted[found > 0] > 0).all()), "a token was drawn that should be cut off"
    # total variation of a multinomial sample shrinks with the square root of its size
    kept = int((wanted > 0).sum())
    assert float((found / count - wanted).abs().sum()) / 2 < 0.5 * (kept / count) ** 0.5 + 0.01


def test_both_ends_of_the_unit_interval_give_a_token_that_is_kept():
    for sampling in CASES:
        wanted = expected(logits(), sampling)
        for uniform in (0.0, 1 - 2**-53):
            assert wanted[draw(logits(), sampling, uniform)[0]] > 0


@pytest.mark.parametrize("sampling", CASES, ids=str)
def test_a_token_comes_with_its_logprob_before_and_after_the_options(sampling):
    scores = logits()
    token, told = TokenChooser(sampling, seed=3, prompt=[], top_logprobs=2).choose(scores)
    assert told is not None
    assert told.token == token
    assert told.logprob == pytest.approx(float(scores.log_softmax(-1)[token]), abs=1e-5)
    assert told.drawn == pytest.approx(float(expected(scores, sampling)[token].log()), abs=1e-4)


def test_a_tiny_temperature_is_greedy_and_not_a_nan():
    scores = logits()
    assert draw(scores, SamplingOptions(temperature=1e-6), 0.5)[0] == int(scores.argmax())


def test_the_penalty_makes_seen_tokens_less_likely_whatever_their_sign():
    scores = torch.tensor([2.0, -2.0, 1.0])
    assert penalized(scores, {0, 1}, 2.0).tolist() == [1.0, -4.0, 1.0]
    assert scores.tolist() == [2.0, -2.0, 1.0]


def test_nothing_asked_for_is_greedy_and_a_seed_asks_for_drawing():
    assert choose_sampling().greedy
    assert choose_sampling(seed=3) == SamplingOptions(temperature=1.0, seed=3)
    assert choose_sampling(temperature=0.0, greedy=True).greedy
    assert choose_sampling(top_p=0.5).seed != choose_sampling(top_p=0.5).seed


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"repetition_penalty": 0},
        {"greedy": True, "seed": 1},
        {"greedy": True, "temperature": 0.5},
    ],
    ids=str,
)
def test_values_out_of_bounds_are_refused_with_a_sentence(wrong):
    with pytest.raises(EngineError) as caught:
        choose_sampling(**wrong)
    assert caught.value.message
    assert caught.value.fix


def test_min_p_keeps_what_is_likely_enough_after_the_temperature():
    """Half as likely as the best is kept at 0.4 and not at 0.6; temperature 2 keeps more."""
    scores = torch.log(torch.tensor([0.5, 0.25, 0.125, 0.125]))
    for min_p, temperature, kept in ((0.4, 1, {0, 1}), (0.6, 1, {0}), (0.4, 2, {0, 1, 2, 3})):
        options = SamplingOptions(temperature=temperature, min_p=min_p)
        assert {draw(scores, options, u / 100)[0] for u in range(100)} == kept
    both = SamplingOptions(temperature=1, min_p=0.4, top_k=3, top_p=0.5)
    assert {draw(scores, both, u / 100)[0] for u in range(100)} == {0}
