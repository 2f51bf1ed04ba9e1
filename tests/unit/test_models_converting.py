"""A conversion tells how long it takes and what it has written, and ends when it is cancelled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tunery.models import importing
from tunery.models.progress import ProgressEvent

WRITES = (
    "import pathlib, sys, time;"
    "pathlib.Path(sys.argv[1], 'x').write_bytes(b'.' * 700); time.sleep(2)"
)


def source(folder: Path) -> importing.Source:
    return importing.Source("tiny", folder / "tiny.gguf", folder / "tiny", "")


def test_a_conversion_is_told_while_it_goes_on(tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    staged.mkdir()
    child = subprocess.Popen([sys.executable, "-c", WRITES, str(staged)])
    told: list[ProgressEvent] = []
    assert importing._watched(child, source(tmp_path), staged, told.append, 1000) == 0
    assert {(each.kind, each.total_bytes) for each in told} == {("convert", 1000)}
    assert (told[0].done_bytes, told[-1].done_bytes) == (0, 700)
    assert 0 <= told[0].seconds < 0.5 < told[-1].seconds


def test_a_conversion_ends_with_the_one_who_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = tmp_path / "staged"
    staged.mkdir()
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def begin(argv: list[str], **more: object) -> subprocess.Popen[bytes]:
        waits = [sys.executable, "-c", "import time; time.sleep(600)"]
        started.append(real(waits, **more))  # pyright: ignore[reportCallIssue, reportArgumentType]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", begin)

    def cancel(event: ProgressEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        importing._run_child(source(tmp_path), staged, cancel, 1000)
    assert started[0].poll() is not None
