"""The words under a finished run follow from its curves."""

from __future__ import annotations

import math

import pytest

from tunery.runs.diagnosis import diagnose


def steps(losses: list[float]) -> list[dict]:
    return [{"type": "step", "step": i + 1, "loss": loss} for i, loss in enumerate(losses)]


def evals(losses: list[float]) -> list[dict]:
    return [{"type": "eval", "step": 10 * (i + 1), "loss": loss} for i, loss in enumerate(losses)]


FALLING = [3.0 * math.exp(-i / 8) + 0.3 for i in range(60)]


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        (steps([3.0, 2.0]), "too short"),
        (steps(FALLING), "healthy"),
        (steps(FALLING) + evals([1.0, 0.8, 0.7]), "healthy"),
        (steps(FALLING) + evals([1.0, 0.7, 1.1]), "over-fit"),
        (steps([2.0 * math.exp(-i / 4) for i in range(60)]) + evals([1.0, 0.7, 1.1]), "memorising"),
        (steps([3.0 - 0.01 * i for i in range(20)]), "under-fit"),
        (steps([2.0, 2.1, 2.5, 3.5, 6.0, 9.0, 12.0]), "diverging"),
        (steps([*FALLING[:20], math.nan, math.nan]), "diverging"),
        (steps([10.8, 22.1, 39.7]), "diverging"),
        (steps([10.8, math.inf]), "diverging"),
        (steps([0.4, 0.7, 0.9]), "too short"),
    ],
)
def test_a_curve_gets_its_name(events: list[dict], kind: str) -> None:
    assert diagnose(events).kind == kind


def test_the_best_step_is_the_lowest_evaluation() -> None:
    assert diagnose(steps(FALLING) + evals([1.0, 0.7, 1.1])).best_step == 20


def test_forgetting_is_said_with_its_remedy() -> None:
    finding = diagnose(
        [*steps(FALLING), {"type": "eval", "step": 60, "loss": 0.4, "forgetting": 0.9}]
    )
    assert finding.forgetting == 0.9
    assert "0.90 nats" in finding.words
    assert "data.replay.num_prompts" in finding.advice


def test_a_loss_that_flies_off_in_few_steps_gets_the_remedy_of_a_diverging_run() -> None:
    finding = diagnose(steps([10.8, 39.7]))
    assert "from 10.800 to 39.700" in finding.words
    assert "optim.learning_rate" in finding.advice
    assert "more epochs" not in finding.advice


def test_the_best_checkpoint_is_advised_only_where_it_is_there_and_not_the_result() -> None:
    rising = steps(FALLING) + evals([1.0, 0.7, 1.1])
    saved = [{"type": "checkpoint", "step": 20}]
    assert "Use the best checkpoint" in diagnose(rising + saved).advice
    assert "checkpoint" not in diagnose(rising).advice
    taken = diagnose([*rising, *saved, {"type": "result", "step": 20}]).advice
    assert "The result is already the best step." in taken
    assert "Use" not in taken
    later = diagnose([*rising, *saved, {"type": "result", "step": 60}]).advice
    assert "Use the best checkpoint" in later


@pytest.mark.parametrize("losses", [[3.0, 2.9], [3.0 - 0.01 * i for i in range(20)]])
def test_a_run_that_max_steps_ended_is_not_told_to_train_for_more_epochs(
    losses: list[float],
) -> None:
    plan = {"type": "plan", "num_steps": len(losses), "max_steps": len(losses)}
    advice = diagnose([plan, *steps(losses)]).advice
    assert f"Raise train.max_steps (now {len(losses)})" in advice
    assert "epochs" not in advice
    assert "more epochs" in diagnose([plan | {"max_steps": None}, *steps(losses)]).advice
