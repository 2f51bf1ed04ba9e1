"""Contract G1, G2: nothing is lost and everything is equal, whenever the process dies (T1, T2)."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.train import tiny
from tests.train.children import Board
from tests.train.zygote import Zygote
from tests.waiting import PATIENCE_SECONDS, until, until_halted

SEED = int(os.environ.get("FAULT_SEED", "20261124"))


def _kill_at_random_instants(
    zygote: Zygote, tmp_path: Path, settings: str, kills: int
) -> tuple[int, int]:
    """Kill living runs at random instants of their life, resume, compare.

    Two kills in three fall at uniformly random instants; the third waits for a random instant
    and then for the next save to begin, since how much of a run is saving depends on the disk.

    Returns:
        How many kills there were, and how many of them were inside a save.
    """
    generator = random.Random(SEED)
    whole = tmp_path / "whole"
    seconds = _seconds(zygote, whole, settings)
    expected, history = tiny.digest(whole), tiny.history(whole)
    killed = inside = trials = 0
    while killed < kills and trials < 3 * kills:
        trials += 1
        path, board = tmp_path / f"run-{trials}", tmp_path / f"board-{trials}"
        arguments = {"path": str(path), "settings": settings, "board": str(board)}
        pid = zygote.start("run", **arguments)
        descriptor, started = os.pidfd_open(pid), time.monotonic()
        ended, _, _ = select.select([descriptor], [], [], generator.uniform(0, seconds))
        if trials % 3 == 0:
            ended = _wait_for_a_save(Board(board), descriptor)
            time.sleep(generator.uniform(0, 0.001))
        lived = time.monotonic() - started
        os.close(descriptor)
        os.kill(pid, signal.SIGKILL)
        status = zygote.wait(pid)
        if ended or status == 0:  # done before the kill: faster than the run that was timed
            seconds = lived
            continue
        assert status == -signal.SIGKILL
        saving, finished = Board(board).read()
        killed += 1
        inside += saving
        found = tiny.newest(path)
        assert (found.step if found else -1) >= finished, f"trial {trials}: a save is lost"
        assert zygote.run("run", **arguments) == 0
        assert tiny.digest(path) == expected, f"FAULT_SEED={SEED}, trial {trials}"
        assert tiny.history(path) == history, f"FAULT_SEED={SEED}, trial {trials}"
        shutil.rmtree(path)
    print(f"{killed} kills in {trials} trials, {inside} inside a save, {killed} of {killed} equal")
    return killed, inside


def _wait_for_a_save(board: Board, descriptor: int) -> list[int]:
    """Return when a save begins (nothing), or when the process ends (its descriptor)."""
    while not board.read()[0]:
        ended, _, _ = select.select([descriptor], [], [], 0.0005)
        if ended:
            return ended
    return []


def _seconds(zygote: Zygote, path: Path, settings: str) -> float:
    pid = zygote.start("run", path=str(path), settings=settings)
    started = time.monotonic()
    assert zygote.wait(pid) == 0
    return time.monotonic() - started


def test_thirty_kills_at_random_instants_lose_nothing_and_end_bitwise_equal(
    zygote: Zygote, tmp_path: Path
) -> None:
    killed, inside = _kill_at_random_instants(zygote, tmp_path, "lora", 30)
    assert killed == 30
    assert inside >= 6, "at least a fifth of the kills must fall inside a save"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("settings", ["lora", "full"])
def test_three_hundred_kills_lose_nothing(zygote: Zygote, tmp_path: Path, settings: str) -> None:
    kills = int(os.environ.get("KILLS", "150"))
    killed, inside = _kill_at_random_instants(zygote, tmp_path, settings, kills)
    assert killed == kills
    assert inside >= 0.2 * killed


@pytest.fixture(scope="module")
def short(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of six steps killed after the save of step 4, and the digest of a whole one."""
    folder = tmp_path_factory.mktemp("short")
    assert zygote.run("run", path=str(folder / "whole"), settings="short") == 0
    half = folder / "half"
    assert zygote.run("run_until_saved", path=str(half), settings="short", step=4) == 0
    return half, tiny.digest(folder / "whole")


def _crash_everywhere(
    zygote: Zygote,
    begin: Path | None,
    expected: str,
    tmp_path: Path,
    *,
    save: int,
    least: int,
    every: int = 1,
) -> None:
    """Die at each disk operation of one save, go on, and compare.

    Args:
        zygote: Forks the trials.
        begin: A run folder that each trial starts from; None starts anew.
        expected: Digest of the uninterrupted run.
        tmp_path: For the trials.
        save: Which save of the session the crash falls into.
        least: Step of a checkpoint that must survive.
        every: 1 tries every operation, 5 every fifth.
    """
    report = tmp_path / "count"

    def trial(call: int) -> tuple[Path, int]:
        path = tmp_path / f"crash-{call}"
        if begin is not None:
            shutil.copytree(begin, path)
        return path, zygote.run(
            "run_and_die",
            path=str(path),
            settings="short",
            save=save,
            call=call,
            report=str(report),
        )

    assert trial(0)[1] == 0
    total = int(report.read_text())
    assert total >= 20
    calls = range(1, total + 1, every)
    for call in calls:
        path, status = trial(call)
        assert status == -signal.SIGKILL
        found = tiny.newest(path)
        assert (found.step if found else -1) >= least
        assert zygote.run("run", path=str(path), settings="short") == 0
        assert tiny.digest(path) == expected, f"operation {call} of {total}"
        left = [p.name for p in (path / "checkpoints").iterdir() if p.name.startswith(".")]
        assert not left, "a killed save left something behind for good"
        shutil.rmtree(path)
    print(f"{len(calls)} of {len(calls)} crash points of save {save} recover")


def test_a_crash_at_every_fifth_disk_operation_of_a_save_recovers(
    zygote: Zygote, short: tuple[Path, str], tmp_path: Path
) -> None:
    # The save of step 6, in which retention deletes the checkpoint of step 2.
    _crash_everywhere(zygote, short[0], short[1], tmp_path, save=1, least=4, every=5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_crash_at_every_disk_operation_of_a_save_recovers(
    zygote: Zygote, short: tuple[Path, str], tmp_path: Path
) -> None:
    _crash_everywhere(zygote, short[0], short[1], tmp_path, save=1, least=4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_crash_at_every_disk_operation_of_the_first_save_recovers(
    zygote: Zygote, short: tuple[Path, str], tmp_path: Path
) -> None:
    _crash_everywhere(zygote, None, short[1], tmp_path, save=1, least=-1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    "call", ["fsync", "rename", "mkdir", "unlink", "unlinkat", "rmdir", "write", "openat"]
)
def test_a_kill_at_every_system_call_of_a_save_recovers(
    zygote: Zygote, short: tuple[Path, str], tmp_path: Path, call: str
) -> None:
    half, expected = short
    killed = 0
    for number in range(1, 400):
        path = tmp_path / f"{call}-{number}"
        shutil.copytree(half, path)
        pid = zygote.start("run_stopped_before_save", path=str(path), settings="short", save=1)
        until_halted(pid)
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(pid), "-e", f"trace={call}",
             "-e", f"inject={call}:signal=SIGKILL:when={number}"],
        )  # fmt: skip
        status_file = Path(f"/proc/{pid}/status")
        until(lambda file=status_file: "TracerPid:\t0" not in file.read_text())
        os.kill(pid, signal.SIGCONT)
        status = zygote.wait(pid)
        tracer.wait(PATIENCE_SECONDS)
        if status == 7:
            break
        assert status == -signal.SIGKILL
        killed += 1
        assert tiny.newest(path).step >= 4
        assert zygote.run("run", path=str(path), settings="short") == 0
        assert tiny.digest(path) == expected, f"{call} {number}"
        shutil.rmtree(path)
    print(f"{killed} of {killed} {call} crash points recover")
    assert killed >= (0 if call in ("unlink", "unlinkat", "rmdir") else 1)
