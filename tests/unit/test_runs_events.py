"""Writing events: what is refused, and what a full disk does."""

from __future__ import annotations

import errno
import os

import pytest

from tunery.runs.events import EventWriter
from tunery.workers.log import follow, read_events


def test_an_unknown_type_or_a_missing_field_is_refused(tmp_path) -> None:
    with EventWriter(tmp_path / "events.jsonl") as events:
        with pytest.raises(ValueError, match="no such event type: stpe"):
            events.write("stpe", step=1)
        with pytest.raises(ValueError, match="event step lacks epoch, loss, learning_rate"):
            events.write("step", step=1)
        with pytest.raises(ValueError, match="no such status: done"):
            events.write("status", status="done")
    assert read_events(tmp_path / "events.jsonl") == ([], 0)


def test_one_line_is_one_write(tmp_path, monkeypatch) -> None:
    written = []
    real = os.write
    with EventWriter(tmp_path / "events.jsonl") as events:
        monkeypatch.setattr(os, "write", lambda fd, data: written.append(data) or real(fd, data))
        events.write("warning", code="W1", text="两行\nof text \u2028")
    assert len(written) == 1
    assert written[0].count(b"\n") == 1


def test_a_full_disk_costs_no_event_and_no_order(tmp_path, monkeypatch) -> None:
    path = tmp_path / "events.jsonl"
    real = os.write
    room = 60

    def limited(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken, room = min(room, len(data)), max(0, room - len(data))
        return real(descriptor, data[:taken])

    with EventWriter(path) as events:
        monkeypatch.setattr(os, "write", limited)
        for code in ("W1", "W2", "W3"):
            events.write("warning", code=code, text="x" * 30)
        assert read_events(path) == ([], 0)
        assert path.stat().st_size == 0, "half a line was left in the log"
        assert not (tmp_path / ".reserve").exists(), "the reserve was kept on a full disk"
        room = 10**9
        events.write("status", status="paused", reason="disk full")
    assert [e["seq"] for e in read_events(path)[0]] == [1, 2, 3, 4]


def test_following_gives_what_was_written_before_the_end(tmp_path) -> None:
    path = tmp_path / "events.jsonl"
    waits = 0

    def wait(_seconds: float) -> None:
        nonlocal waits
        waits += 1
        with EventWriter(path) as events:
            events.write("status", status="running")

    batches = list(follow(path, done=lambda: waits == 3, wait=wait))
    assert [e["seq"] for batch in batches for e in batch] == [1, 2, 3]
