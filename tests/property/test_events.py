"""The event log survives a cut anywhere, and a reader sees every whole line once."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.steps import step_history

from tunery.runs.events import EventWriter
from tunery.workers.log import number, read_events

texts = st.text(max_size=30)
losses = st.floats(allow_nan=True, allow_infinity=True)
places = st.integers(0, 10_000)


def write_all(path: Path, rows: list[tuple[str, float]]) -> None:
    with EventWriter(path) as events:
        for text, loss in rows:
            events.write("warning", code="W", text=text, loss=loss)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(texts, losses), min_size=1, max_size=8), places)
def test_a_log_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(rows, place) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        write_all(path, rows)
        whole = path.read_bytes()
        cut = place * len(whole) // 10_000
        path.write_bytes(whole[:cut])
        kept = whole[:cut].count(b"\n")
        seen, offset = read_events(path)
        assert [e["seq"] for e in seen] == list(range(1, kept + 1))
        write_all(path, rows)
        again, _ = read_events(path)
        assert [e["seq"] for e in again] == list(range(1, kept + len(rows) + 1))
        assert [e["text"] for e in again] == [t for t, _ in rows[:kept]] + [t for t, _ in rows]
        later, _ = read_events(path, offset)
        assert seen + later == again


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(texts, losses), min_size=1, max_size=6), st.lists(places, max_size=6))
def test_a_reader_of_a_growing_log_sees_each_event_once(rows, cuts) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, growing = Path(folder) / "events.jsonl", Path(folder) / "growing.jsonl"
        write_all(path, rows)
        whole = path.read_bytes()
        seen, offset = [], 0
        for cut in [*(c * len(whole) // 10_000 for c in sorted(cuts)), len(whole)]:
            growing.write_bytes(whole[:cut])
            events, offset = read_events(growing, offset)
            seen += events
        assert [e["seq"] for e in seen] == list(range(1, len(rows) + 1))


@given(losses)
def test_a_non_finite_number_is_written_as_it_is_and_never_as_zero(loss) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        write_all(path, [("x", loss)])
        value = number(read_events(path)[0][0]["loss"])
    assert value == loss or (value is not None and math.isnan(value) and math.isnan(loss))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=40))
def test_the_step_history_is_strictly_increasing_whatever_was_resumed(moves) -> None:
    events, step = [], 0
    for resumed, back in moves:
        if resumed:
            step = min(step, back)
            events.append({"seq": len(events), "type": "resumed", "step": step})
        else:
            step += 1
            events.append({"seq": len(events), "type": "step", "step": step})
    history = [e["step"] for e in step_history(events)]
    assert history == list(range(1, step + 1))
