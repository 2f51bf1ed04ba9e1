"""Contract G6: a full disk pauses a run and loses nothing (T5)."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.train import tiny
from tests.train.zygote import Zygote
from tests.waiting import PATIENCE_SECONDS

from tunery import faults
from tunery.runs import manifest
from tunery.runs.signals import StopRequests
from tunery.train.state import saving
from tunery.workers.log import follow
from tunery.workers.process import Control


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB in memory; needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    made = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True
        ).returncode
    )
    if not made:
        pytest.skip("a tmpfs cannot be mounted here (needs root)")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def _fill(disk: Path, leave_bytes: int) -> Path:
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(bytes(max(0, free - leave_bytes)))
    return filler


def _until(run: Path, wanted: str) -> list[str]:
    """Wait for a status event; tells all statuses so far."""
    end = time.monotonic() + PATIENCE_SECONDS
    seen: list[str] = []
    for batch in follow(run / "events.jsonl", done=lambda: time.monotonic() > end, interval=0.01):
        seen += [e["status"] for e in batch if e["type"] == "status"]
        if wanted in seen:
            return seen
    raise AssertionError(f"no status {wanted}: {seen}")


@pytest.mark.parametrize("trial", range(4))
def test_a_full_disk_pauses_the_run_which_goes_on_when_there_is_room(
    zygote: Zygote, small_disk: Path, tmp_path: Path, trial: int
) -> None:
    assert zygote.run("run", path=str(tmp_path / "whole"), settings="big") == 0
    run = small_disk / "run"
    assert zygote.run("run_until_saved", path=str(run), settings="big", step=4) == 0
    # A checkpoint takes about 0.6 MiB; the room for the next one ends at a random byte of it.
    leave = random.Random(trial).randrange(4096, 500_000)
    filler = _fill(small_disk, leave)
    pid = zygote.start("run_with_little_patience", path=str(run), settings="big")
    try:
        _until(run, "paused")
        assert tiny.newest(run).step == 4, "the older checkpoint stands"
        paused = [e for e in tiny.events(run, "status") if e["status"] == "paused"]
        assert "disk full" in paused[0]["reason"]
        assert "waiting to save step 6" in paused[0]["reason"]
    finally:
        filler.unlink()
    assert zygote.wait(pid) == 0
    statuses = [e["status"] for e in tiny.events(run, "status")]
    assert statuses[-2:] == ["running", "finished"]
    assert tiny.digest(run) == tiny.digest(tmp_path / "whole")
    assert tiny.history(run) == tiny.history(tmp_path / "whole")


class FullAt:
    """The disk takes so many writes of tensors and then no more, until it is freed."""

    def __init__(self, number: int, code: int) -> None:
        self.number, self.code, self.count = number, code, 0

    def __call__(self, where: str, values: dict[str, Any]) -> None:
        if where == "write":
            self.count += 1
            if self.count >= self.number:
                raise OSError(self.code, os.strerror(self.code), "here")


@pytest.fixture
def no_fault() -> Iterator[None]:
    yield
    faults.hook = None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_every_write_of_a_save_may_find_the_disk_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_fault: None, code: int
) -> None:
    monkeypatch.setattr(saving, "RETRY_SECONDS", 0.0)
    tiny.run(tmp_path / "whole", tiny.config(train={"max_steps": 4}))
    # From the second save on: the first is at step 0.
    for number in range(30, 60, 7):
        path = tmp_path / f"{number}"
        full = FullAt(number, code)
        faults.hook = full
        monkeypatch.setattr(saving.Saver, "wait", _free_the_disk)
        assert tiny.run(path, tiny.config(train={"max_steps": 4})) == "finished"
        assert full.count >= number
        paused = [e for e in tiny.events(path, "status") if e["status"] == "paused"]
        assert paused
        assert not list((path / "checkpoints").glob(".staging-*"))
        assert tiny.digest(path) == tiny.digest(tmp_path / "whole")


def _free_the_disk(saver: saving.Saver) -> bool:
    folder = saver.checkpoints.folder
    for checkpoint in manifest.list_checkpoints(folder):
        manifest.verify(checkpoint)
    assert not list(folder.glob(".staging-*")), "only our staging is deleted"
    faults.hook = None
    return True


def test_a_stop_while_the_disk_is_full_ends_with_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_fault: None
) -> None:
    monkeypatch.setattr(saving, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(saving, "RETRY_SECONDS", 3600.0)  # the stop is not heard by trying again
    control = Control(tiny.RunFolder(tmp_path))

    class Full(FullAt):
        def __call__(self, where: str, values: dict[str, Any]) -> None:
            if values.get("step") == 4:
                self.number = 0
                control.request_stop()
            super().__call__(where, values)

    # The request comes with the begin of the save of step 4, which finds the disk full.
    faults.hook = Full(10**9, errno.ENOSPC)
    assert tiny.run(tmp_path, stop=StopRequests(control)) == "stopped"
    assert tiny.newest(tmp_path).step == 2


def test_another_error_of_the_disk_is_no_pause(tmp_path: Path, no_fault: None) -> None:
    faults.hook = FullAt(3, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        tiny.run(tmp_path)
    with contextlib.suppress(IndexError):
        assert tiny.events(tmp_path, "status")[-1]["status"] != "paused"


def test_a_run_that_never_saves_begins_without_a_checkpoint_and_its_room_is_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.config(train={"max_steps": 3}, checkpoint={"every": "never"})
    asked: list[int] = []
    real = saving.Checkpoints.reserve

    def reserved(self: saving.Checkpoints, size: int) -> int:
        asked.append(size)
        if len(asked) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "here")
        return real(self, size)

    monkeypatch.setattr(saving, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(saving.Checkpoints, "reserve", reserved)
    assert tiny.run(tmp_path / "run", settings) == "finished"
    (saved,) = tiny.events(tmp_path / "run", "checkpoint")
    assert saved["step"] == 3
    assert 0.8 < asked[0] / saved["bytes"] < 1.5
    paused = [e for e in tiny.events(tmp_path / "run", "status") if e["status"] == "paused"]
    assert "not enough disk space for a checkpoint" in paused[0]["reason"]
    assert not list((tmp_path / "run" / "checkpoints").glob(".staging-room*"))
