"""The learning rate over time."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from tunery.config.optimizers.adamw import AdamWConfig
from tunery.config.optimizers.base import Schedule
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


THEIRS = {
    "linear": ("linear", {}, {}),
    "cosine": ("cosine", {}, {}),
    "cosine_with_restarts": ("cosine_with_restarts", {"num_cycles": 3}, {"schedule_num_cycles": 3}),
    "polynomial": (
        "polynomial", {"power": 2.5, "lr_end": 1e-12}, {"schedule_power": 2.5},
    ),
    "inverse_sqrt": ("inverse_sqrt", {}, {}),
    "wsd": (
        "warmup_stable_decay",
        {"num_decay_steps": 18, "decay_type": "cosine"},
        {"schedule_decay_ratio": 0.2},
    ),
    "wsd linear": (
        "warmup_stable_decay",
        {"num_decay_steps": 18, "decay_type": "linear"},
        {"schedule_decay_ratio": 0.2, "schedule_decay_type": "linear"},
    ),
    "wsd 1-sqrt": (
        "warmup_stable_decay",
        {"num_decay_steps": 18, "decay_type": "1-sqrt"},
        {"schedule_decay_ratio": 0.2, "schedule_decay_type": "1-sqrt"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
def test_after_the_warm_up_it_is_the_schedule_of_transformers(name: str) -> None:
    torch = pytest.importorskip("torch")
    from transformers import get_scheduler

    schedule, more, ours = THEIRS[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler(
        schedule, optimizer, num_warmup_steps=10, num_training_steps=100,
        scheduler_specific_kwargs=more,
    )  # fmt: skip
    expected: list[float] = []
    for _ in range(100):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    found = rates(schedule=schedule, warmup_steps=10, **ours)
    assert found[10:] == pytest.approx(expected[10:], abs=1e-9)


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_every_schedule_keeps_between_the_floor_and_the_peak(schedule: str) -> None:
    found = rates(schedule=schedule, warmup_steps=10, min_learning_rate_ratio=0.25)
    assert found[10] == 1.0
    assert min(found[10:]) >= 0.25
    assert max(found) == 1.0


def test_rex_falls_late() -> None:
    found = rates(schedule="rex", warmup_ratio=0.0)
    assert found[50] == pytest.approx(2 / 3)
    assert 0 < found[-1] < 0.03


def test_a_setting_of_another_schedule_is_told() -> None:
    config = AdamWConfig.model_validate({"schedule": "rex", "schedule_power": 2})
    (said,) = config.advises(None)
    assert said == "optim.schedule_power has no effect with optim.schedule=rex."
