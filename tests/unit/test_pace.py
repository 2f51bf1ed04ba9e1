"""The time left is that of the run as a whole: no one step moves it much."""

from __future__ import annotations

import random

import pytest

from tunery.train.pace import MOST_STEPS, Pace


def pace_of(*seconds: float) -> Pace:
    pace = Pace()
    for each in seconds:
        pace.add(each)
    return pace


def test_one_slow_step_does_not_make_minutes_of_seconds() -> None:
    """As seen: 9 minutes were left, and 83 were shown after the last batch of an epoch."""
    steady = pace_of(*[1.0] * 6)
    assert steady.left(540) == pytest.approx(540)
    steady.add(100.0)
    assert steady.left(539) == pytest.approx(539)


def test_a_short_last_batch_does_not_make_seconds_of_minutes() -> None:
    pace = pace_of(*[1.0] * 6, 0.05)
    assert 0.8 * 539 < pace.left(539) < 539


def test_epochs_that_end_with_a_short_batch_are_told_as_they_are() -> None:
    pace = pace_of(*([1.0] * 5 + [0.1]) * 40)
    assert pace.left(60) == pytest.approx(60 * 5.1 / 6, rel=0.03)


def test_epochs_that_end_with_a_slow_batch_are_told_nearly_as_they_are() -> None:
    pace = pace_of(*([1.0] * 9 + [3.0]) * 20)
    assert pace.left(100) == pytest.approx(100 * 1.2, rel=0.1)


def test_the_first_step_that_warms_up_is_forgotten_with_the_third() -> None:
    assert pace_of(30.0, 1.0, 1.0).left(10) == pytest.approx(10)
    assert pace_of(30.0).left(10) == pytest.approx(300)


def test_rows_of_many_lengths_give_their_mean() -> None:
    draw = random.Random(7)
    taken = [draw.uniform(0.2, 1.8) for _ in range(400)]
    assert pace_of(*taken).left(100) == pytest.approx(100 * sum(taken) / 400, rel=0.06)


def test_a_run_that_gets_slower_for_good_is_followed() -> None:
    pace = pace_of(*[1.0] * 50, *[2.0] * MOST_STEPS)
    assert pace.left(10) == pytest.approx(20)


def test_nothing_is_known_before_the_first_step() -> None:
    assert Pace().seconds_a_step is None
    assert Pace().left(10) == 0.0
