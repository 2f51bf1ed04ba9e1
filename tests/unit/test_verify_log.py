"""``runs verify`` reads the event log in parts, whatever its length."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from tunery.runs import verify
from tunery.runs.folder import RunFolder

PADDING = "x" * 900


@pytest.fixture
def run(home: Path) -> RunFolder:
    folder = RunFolder(home / "runs" / "long")
    folder.control_dir.mkdir(parents=True)
    return folder


def write(folder: RunFolder, count: int, **fields: object) -> None:
    """A log of ``count`` lines of about 1 KB; fields are those of the last event."""
    with folder.events_file.open("w", encoding="utf-8") as file:
        for seq in range(1, count):
            event = {"seq": seq, "type": "sample", "step": 1, "answer": PADDING}
            file.write(json.dumps(event) + "\n")
        file.write(json.dumps({"seq": count, **fields}) + "\n")


def finding(folder: RunFolder, wanted: str) -> verify.Finding:
    return next(found for found in verify.check_run(folder) if found.id == wanted)


def test_a_long_log_is_never_in_memory_at_once(run: RunFolder):
    write(run, 16_000, type="phase", phase="train", state="end")
    size = run.events_file.stat().st_size
    tracemalloc.start()
    try:
        found = {each.id: each.ok for each in verify.check_run(run)}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found["I8"]
    assert peak < size / 2, f"{peak} bytes for a log of {size}"


def test_events_are_in_order_across_the_parts(run: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verify, "_LOG_CHUNK_BYTES", 2_500)
    write(run, 10, type="phase", phase="train", state="end")
    assert finding(run, "I8") == verify.Finding("I8", True, "Events are complete and in order: 10.")
    lines = run.events_file.read_text(encoding="utf-8").splitlines(keepends=True)
    run.events_file.write_text("".join([*lines[:4], *lines[5:]]), encoding="utf-8")
    assert not finding(run, "I8").ok  # one is missing
    run.events_file.write_text("".join([*lines[:4], "broken\n", *lines[4:]]), encoding="utf-8")
    assert not finding(run, "I8").ok  # a damaged line between them


def test_rows_and_checkpoints_are_found_anywhere_in_the_log(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(verify, "_LOG_CHUNK_BYTES", 2_500)
    counts = {"read": 9, "used": 7, "quarantined": 1, "filtered": {"too_long": 1}}
    write(run, 10, type="rows", **counts)
    assert finding(run, "I4").text == "Rows: 9 read = 7 used + 1 set aside + 1 filtered."
    write(run, 10, type="checkpoint", step=8, best=True)
    assert finding(run, "I3").text == "The best checkpoint, step 8, is missing."
    assert not finding(run, "I1").ok


def test_an_unfinished_last_line_does_not_count(run: RunFolder):
    write(run, 3, type="phase", phase="train", state="end")
    with run.events_file.open("a", encoding="utf-8") as file:
        file.write('{"seq": 4, "ty')
    assert finding(run, "I8").text == "Events are complete and in order: 3."
