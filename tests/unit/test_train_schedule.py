"""The learning rate over time."""

from __future__ import annotations

import itertools

import pytest

from tunery.config.optimizers.adamw import AdamWConfig
from tunery.optimizers.schedule import learning_rate, warmup_steps


def rates(num_steps: int = 100, **settings: object) -> list[float]:
    config = AdamWConfig.model_validate({"learning_rate": 1.0, **settings})
    return [learning_rate(step, num_steps, config) for step in range(1, num_steps + 1)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_it_rises_to_the_peak_and_never_above(schedule: str) -> None:
    found = rates(schedule=schedule, warmup_steps=10)
    assert found[:10] == pytest.approx([i / 11 for i in range(1, 11)])
    assert found[10] == pytest.approx(1.0)
    assert max(found) <= 1.0


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_it_falls_after_warm_up_and_no_step_is_wasted_at_zero(schedule: str) -> None:
    found = rates(schedule=schedule, warmup_ratio=0.1)
    assert all(a > b for a, b in itertools.pairwise(found[10:]))
    assert 0 < found[-1] < 0.02


def test_constant_stays() -> None:
    assert set(rates(schedule="constant", warmup_ratio=0.0)) == {1.0}


def test_it_ends_near_the_floor() -> None:
    assert rates(schedule="cosine", min_learning_rate_ratio=0.2)[-1] == pytest.approx(0.2, abs=0.01)


def test_the_number_of_warm_up_steps_goes_before_the_ratio() -> None:
    config = AdamWConfig(warmup_ratio=0.5, warmup_steps=3)
    assert warmup_steps(config, 100) == 3


def test_warm_up_never_takes_the_whole_run() -> None:
    assert warmup_steps(AdamWConfig(warmup_steps=500), 10) == 9
    assert rates(1, warmup_steps=5) == [1.0]
