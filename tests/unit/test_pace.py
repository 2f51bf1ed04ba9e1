"""The time left is that of the run as a whole: no one step moves it much."""

from __future__ import annotations

import random

import pytest

from tunery.train.feed.order import Order
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


def test_evaluations_and_saves_still_to_come_are_counted() -> None:
    pace = pace_of(*[1.0] * 6)
    pace.add_pause("evaluation", 9.0, before=True)
    assert pace.left(10, {"evaluation": 2, "save": 3}) == pytest.approx(10 + 18)
    pace.add_pause("evaluation", 50.0)  # a measurement during the run replaces the one before it
    pace.add_pause("save", 2.0)
    assert pace.left(10, {"evaluation": 2, "save": 3}) == pytest.approx(10 + 100 + 6)
    assert pace.left(0, {"evaluation": 1}) == pytest.approx(50)


@pytest.mark.parametrize("num_steps", [1, 6, 9, 10])
@pytest.mark.parametrize("every", [1, 3, 4, 20])
def test_what_is_due_at_intervals_and_at_the_end_is_counted(num_steps: int, every: int) -> None:
    for step in range(1, num_steps + 1):
        due = [n for n in range(step, num_steps + 1) if n % every == 0 or n == num_steps]
        assert Order.times_left(step, num_steps, every) == len(due)
