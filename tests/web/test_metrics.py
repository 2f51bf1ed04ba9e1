"""Curves: thinned out without losing a spike, read as the log grows, exact after a resume."""

from __future__ import annotations

import json
import math
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunery.runs.curves import pick
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder
from tunery.services.runs import _metrics

values = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=400)


def folder_of(path: Path) -> RunFolder:
    path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path)


def write_steps(writer: EventWriter, first: int, last: int, loss: float | None = None) -> None:
    for step in range(first, last + 1):
        writer.write("step", step=step, epoch=step / 10, loss=loss or 1 / step, learning_rate=1e-3,
                     grad_norm=1.0, tokens=7, seconds=0.5)  # fmt: skip


@given(values, st.integers(2, 60))
def test_picked_points_keep_both_ends_and_the_extremes(numbers, most) -> None:
    column = array("d", numbers)
    picked = pick(column, 0, len(column), most)
    assert len(picked) <= most or len(column) <= most
    assert picked == sorted(set(picked))
    assert picked[0] == 0
    assert picked[-1] == len(column) - 1
    finite = [v for v in numbers if math.isfinite(v)]
    if finite and most >= 4:
        shown = [column[i] for i in picked if math.isfinite(column[i])]
        assert min(shown) == min(finite)
        assert max(shown) == max(finite)


@given(values)
def test_a_short_curve_is_whole(numbers) -> None:
    column = array("d", numbers)
    assert pick(column, 0, len(column), len(column) + 2) == list(range(len(column)))


@given(st.integers(0, 500), st.integers(2, 50))
def test_evenly_spread_places_hold_first_and_last(count, most) -> None:
    places = _metrics.spread(0, count, most)
    assert len(places) == min(count, most)
    assert places[:1] == ([0] if count else [])
    assert places[-1:] == ([count - 1] if count else [])
    assert places == sorted(set(places))


def test_a_growing_log_is_read_on_from_where_it_was(tmp_path) -> None:
    folder = folder_of(tmp_path / "run")
    with EventWriter(folder.events_file) as writer:
        write_steps(writer, 1, 5)
        assert _metrics.metrics(_metrics.run_log(folder))["series"]["loss"]["step"] == [
            1,
            2,
            3,
            4,
            5,
        ]
        offset = _metrics.run_log(folder).offset
        write_steps(writer, 6, 8)
        told = _metrics.run_log(folder)
        assert told.offset > offset
        more = _metrics.metrics(told, after=5)
        assert more["series"]["loss"]["step"] == [6, 7, 8]
        assert more["axes"] == {"step": [6, 7, 8], "epoch": [0.6, 0.7, 0.8],
                                "tokens": [42, 49, 56], "time": [3, 3.5, 4]}  # fmt: skip


def test_a_resumed_run_shows_the_later_try_of_a_step(tmp_path) -> None:
    folder = folder_of(tmp_path / "run")
    with EventWriter(folder.events_file) as writer:
        write_steps(writer, 1, 6, loss=5.0)
        writer.write("checkpoint", step=4, folder="step-00000004", bytes=1, seconds=0.1)
        writer.write("checkpoint", step=6, folder="step-00000006", bytes=1, seconds=0.1)
        writer.write("resumed", step=4, checkpoint="step-00000004")
        write_steps(writer, 5, 5, loss=2.0)
    told = _metrics.metrics(_metrics.run_log(folder))
    assert told["series"]["loss"] == {"step": [1, 2, 3, 4, 5], "value": [5, 5, 5, 5, 2]}
    assert told["checkpoints"] == [4]


def test_numbers_that_are_none_are_gaps_and_not_zeros(tmp_path) -> None:
    folder = folder_of(tmp_path / "run")
    with EventWriter(folder.events_file) as writer:
        write_steps(writer, 1, 1)
        writer.write("step", step=2, epoch=0.2, loss=math.nan, learning_rate=1e-3)
    series = _metrics.metrics(_metrics.run_log(folder))["series"]
    assert series["loss"]["value"] == [1, None]
    assert series["grad_norm"]["value"] == [1, None]
    assert "memory_bytes" not in series


def test_steps_since_an_event_are_exact_and_too_many_are_none(tmp_path) -> None:
    folder = folder_of(tmp_path / "run")
    with EventWriter(folder.events_file) as writer:
        write_steps(writer, 1, 10)
    told = _metrics.run_log(folder)
    seen: list[int] = []
    cursor = 0
    while cursor < told.seq:
        columns = _metrics.steps_since(told, cursor, most=10)
        assert columns is not None
        seen += columns["step"][:3]
        cursor += 3
    assert seen == list(range(1, 11))
    assert _metrics.steps_since(told, 0, most=9) is None


def test_a_deleted_and_remade_log_is_a_new_story(tmp_path) -> None:
    folder = folder_of(tmp_path / "run")
    with EventWriter(folder.events_file) as writer:
        write_steps(writer, 1, 9)
    assert len(_metrics.run_log(folder).curves) == 9
    folder.events_file.rename(tmp_path / "old")
    with EventWriter(folder.events_file) as writer:
        write_steps(writer, 1, 2)
    assert len(_metrics.run_log(folder).curves) == 2


@pytest.fixture
def long_run(tmp_path) -> RunFolder:
    """A run of 100,000 steps as the worker would have written it."""
    folder = folder_of(tmp_path / "long")
    line = ('{"seq":%d,"time":1.7e9,"clock":%d.5,"type":"step","step":%d,"epoch":%.4f,'
            '"loss":%.6f,"learning_rate":0.0001234567,"grad_norm":%.6f,"taken":true,'
            '"tokens":2048,"trained_tokens":1024,"tokens_per_second":2129.3,"seconds":0.96123,'
            '"eta_seconds":12.5,"memory_bytes":123456789}\n')  # fmt: skip
    with folder.events_file.open("w") as file:
        for step in range(1, 100_001):
            noise = (step * 7919 % 1000) / 1000
            file.write(
                line % (step, step, step, step / 1e4, 3 / (1 + step / 1e4) + noise / 5, noise)
            )
    return folder


def test_a_hundred_thousand_steps_fit_a_screen_and_an_update_is_small(long_run) -> None:
    told = _metrics.run_log(long_run)
    first = _metrics.metrics(told)
    assert first["count"] == 100_000
    assert 1500 < len(first["series"]["loss"]["step"]) <= 2000
    assert len(json.dumps(first, separators=(",", ":"))) < 160_000
    with EventWriter(long_run.events_file) as writer:
        write_steps(writer, 100_001, 100_020)
    told = _metrics.run_log(long_run)
    update = _metrics.metrics(told, after=100_000, max_points=400)
    assert update["series"]["loss"]["step"] == list(range(100_001, 100_021))
    assert len(json.dumps(update, separators=(",", ":"))) < 40_000
    behind = _metrics.metrics(told, after=50_000, max_points=400)
    assert len(json.dumps(behind, separators=(",", ":"))) < 40_000
