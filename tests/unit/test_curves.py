"""A long log is read once: its summary gives every later reader the same columns and events."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from tunery.runs import curves
from tunery.runs.curves import RunLog, summary_of
from tunery.runs.events import EventWriter
from tunery.services.runs import _archive

STEPS = 300


@pytest.fixture(autouse=True)
def every_log_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "KEPT_FROM_BYTES", 10_000)


def write(log: Path, first: int, last: int, *, seconds: float = 0.5) -> None:
    with EventWriter(log) as events:
        for step in range(first, last + 1):
            loss = math.nan if step == 7 else 100 + step if step == 150 else 3.0 / step
            events.write(
                "step", step=step, epoch=step / 100, loss=loss, learning_rate=1e-4, grad_norm=None,
                tokens=10, seconds=seconds, tokens_per_second=20.0, memory_bytes=123,
                measures={"accuracy": step / 1000},
            )  # fmt: skip
            if step % 100 == 0:
                events.write("eval", step=step, loss=1.0 / step)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "events.jsonl"
    with EventWriter(file) as events:
        events.write("status", status="running", pid=1)
        events.write(
            "plan", num_steps=STEPS, epochs=3, trained_parameters=1, total_parameters=2,
            measures=[{"name": "accuracy", "label": "Accuracy"}], best="accuracy", unit="tokens",
        )  # fmt: skip
    write(file, 1, STEPS)
    return file


def columns(told: RunLog) -> list[list[str]]:
    """As text: NaN differs from itself."""
    return [[repr(value) for value in column] for column in told.curves.columns()]


def test_a_second_reader_reads_the_summary_and_only_what_was_added(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RunLog(log).refresh()
    assert summary_of(log).is_file()
    write(log, STEPS + 1, STEPS + 5)
    offsets: list[int] = []
    read = curves.read_events

    def watched(path: Path, offset: int = 0, *, limit: int = -1) -> Any:
        offsets.append(offset)
        return read(path, offset, limit=limit)

    monkeypatch.setattr(curves, "read_events", watched)
    second = RunLog(log).refresh()
    assert offsets[0] == whole.offset
    again = whole.refresh()
    assert columns(second) == columns(again)
    assert second.events == again.events
    assert (second.seq, second.offset, second.declared) == (again.seq, again.offset, again.declared)
    assert "accuracy" in second.curves.values


def test_a_resume_after_the_summary_drops_what_is_done_again(log: Path) -> None:
    RunLog(log).refresh()
    with EventWriter(log) as events:
        events.write("resumed", step=200, checkpoint="step-00000200")
    write(log, 201, 210)
    assert list(RunLog(log).refresh().curves.step) == list(range(1, 211))


@pytest.mark.parametrize("harm", ["cut", "noise", "empty", "version", "other log"])
def test_a_summary_that_is_not_of_this_log_is_not_believed(log: Path, harm: str) -> None:
    right = columns(RunLog(log).refresh())
    summary = summary_of(log)
    data = summary.read_bytes()
    line, _, rest = data.partition(b"\n")
    match harm:
        case "cut":
            summary.write_bytes(data[:-100])
        case "noise":
            summary.write_bytes(b"\x00\xff" * 500)
        case "empty":
            summary.write_bytes(b"")
        case "version":
            summary.write_bytes(
                json.dumps({**json.loads(line), "version": 0}).encode() + b"\n" + rest
            )
        case _:
            log.unlink()
            write(log, 1, STEPS, seconds=0.25)
            right = columns(RunLog(log).refresh())
            summary.write_bytes(data)
    assert columns(RunLog(log).refresh()) == right


def test_the_summary_is_not_written_anew_for_every_few_steps(log: Path) -> None:
    told = RunLog(log).refresh()
    before = summary_of(log).stat().st_mtime_ns
    write(log, STEPS + 1, STEPS + 10)
    told.refresh()
    assert summary_of(log).stat().st_mtime_ns == before
    write(log, STEPS + 11, 2 * STEPS)
    told.refresh()
    assert summary_of(log).stat().st_mtime_ns != before


def test_thinned_steps_keep_the_extremes_and_the_sums(log: Path) -> None:
    told = RunLog(log).refresh()
    events = told.thinned(20)
    steps = [event for event in events if event["type"] == "step"]
    assert 15 <= len(steps) <= 20
    assert {1, 150, STEPS} <= {event["step"] for event in steps}
    assert sum(event["tokens"] for event in steps) == 10 * STEPS
    assert sum(event["seconds"] for event in steps) == pytest.approx(0.5 * STEPS)
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert [e["step"] for e in events if e["type"] == "eval"] == [100, 200, 300]
    assert steps[-1]["measures"] == {"accuracy": 0.3}
    (all_of_them, whole) = told.thinned(), [e for e in told.thinned() if e["type"] == "step"]
    assert len(whole) == STEPS
    assert whole[0]["tokens"] == 10
    assert whole[0]["grad_norm"] is None
    assert [e["type"] for e in all_of_them[:2]] == ["status", "plan"]


def test_the_table_of_a_long_log_is_streamed_and_counts_a_repeated_step_once(log: Path) -> None:
    with EventWriter(log) as events:
        events.write("resumed", step=200, checkpoint="step-00000200")
    write(log, 201, 250, seconds=9.0)
    rows = list(csv.DictReader(io.StringIO("".join(_archive.metrics_csv(log)))))
    steps = [row for row in rows if row["type"] == "step"]
    assert [int(row["step"]) for row in steps] == list(range(1, 251))
    assert {row["seconds"] for row in steps[200:]} == {"9.0"}
    assert [int(row["step"]) for row in rows if row["type"] == "eval"] == [100, 200]
    assert [int(row["step"]) for row in rows] == sorted(int(row["step"]) for row in rows)
    assert steps[9]["accuracy"] == "0.01"
