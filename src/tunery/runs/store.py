"""All runs of this machine: list, find, delete. Everything is read from the folders.

There is no index to go stale: a run's state comes from three small files and two windows of its
event log, so a thousand runs take about a second (measured in docs/log). Deleting renames the
folder to a ``.trash-`` name first, so that a half-deleted run is never listed.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tunery import atomic, env
from tunery.commands import quoted
from tunery.errors import RunError
from tunery.i18n import t
from tunery.runs.folder import NAME, RunFolder, find_taken, names, open_run, taken
from tunery.runs.status import RunStatus, derive
from tunery.workers.log import number
from tunery.workers.process import WorkerFile, try_lock

UNDO_SECONDS = 30.0
"""How long a run that was put away can be put back; the page offers it for 10 s."""

_TRASH = ".trash-"
_UNDO = ".undo-"
_UNDO_NAME = re.compile(rf"\.undo-({NAME.pattern})-(\d+)")
_NEW = ".new-"


def list_runs() -> list[RunStatus]:
    """The state of every run, newest first."""
    runs = [derive(RunFolder(env.runs_dir() / name)) for name in names()]
    return sorted(runs, key=lambda run: (run.started or 0.0, run.name), reverse=True)


def newest_runs(count: int) -> tuple[list[RunStatus], int]:
    """The state of the newest runs, and how many runs there are; the others are not looked into."""
    folders = [RunFolder(env.runs_dir() / name) for name in names()]
    folders.sort(key=lambda f: (number(f.card().get("created")) or 0.0, f.name), reverse=True)
    return [derive(folder) for folder in folders[:count]], len(folders)


def get(name: str) -> RunStatus:
    """The state of one run.

    Raises:
        RunError: There is none of that name.
    """
    return derive(open_run(name))


def delete(name: str) -> int:
    """Delete a run with everything in its folder.

    Returns:
        How many bytes that gave back.

    Raises:
        RunError: It does not exist, or something works in it.
    """
    put = put_away(name, as_=_TRASH)
    shutil.rmtree(put.path)
    sweep()
    return put.bytes


@dataclass(frozen=True)
class PutAway:
    """A run that was taken out of the list.

    Args:
        run: Its name.
        path: Where its folder is now.
        bytes: What its files take.
    """

    run: str
    path: Path
    bytes: int

    @property
    def token(self) -> str:
        """What ``put_back`` wants to know."""
        return self.path.name


def put_away(name: str, *, as_: str = _UNDO) -> PutAway:
    """Take a run out of the list, so that ``put_back`` can undo it for ``UNDO_SECONDS``.

    The first ``sweep`` after that removes it for good.

    Raises:
        RunError: It does not exist, or something works in it.
    """
    folder = open_run(name)
    lock = try_lock(folder.lock_file)
    if lock is None or WorkerFile(folder).alive():
        if lock is not None:
            os.close(lock)
        raise RunError(
            t("Run {run} is active and was not deleted.", run=folder.name),
            fix=t("Stop it first: tunery runs stop {run}", run=quoted(folder.name)),
            code="in_use",
            run=folder.name,
        )
    try:
        size = size_bytes(folder)
        path = folder.path.with_name(f"{as_}{folder.name}-{time.time_ns()}")
        folder.path.rename(path)
        atomic.flush(path.parent)
    finally:
        os.close(lock)
    return PutAway(folder.name, path, size)


def put_back(token: str) -> str:
    """Undo ``put_away``.

    Returns:
        The run's name.

    Raises:
        RunError: The time for it is over, or a new run has the name.
    """
    match = _UNDO_NAME.fullmatch(token)
    path = env.runs_dir() / token
    if match is None or not path.is_dir():
        raise RunError(t("The run was deleted permanently and cannot be restored."), code="unknown")
    name = match[1]
    if find_taken(name):
        raise taken(name)
    path.rename(path.with_name(name))
    atomic.flush(path.parent)
    return name


def sweep(*, now: float | None = None) -> None:
    """Remove what killed deletions and starts left behind, and what can no longer be undone.

    Args:
        now: The time by the wall clock, for tests.
    """
    now = time.time() if now is None else now
    for entry in env.runs_dir().glob(f"{_TRASH}*"):
        shutil.rmtree(entry, ignore_errors=True)
    for entry in env.runs_dir().glob(f"{_UNDO}*"):
        match = _UNDO_NAME.fullmatch(entry.name)
        # A clock that was set back must not keep a deleted run for years.
        if match is None or abs(now - int(match[2]) / 1e9) > UNDO_SECONDS:
            shutil.rmtree(entry, ignore_errors=True)
    for entry in env.runs_dir().glob(f"{_NEW}*"):
        # .new-NAME-PID-RANDOM: half-made; its maker may still be at work.
        pid = entry.name.rsplit("-", 2)[-2]
        if not (pid.isdigit() and _exists(int(pid))):
            shutil.rmtree(entry, ignore_errors=True)


def size_bytes(folder: RunFolder) -> int:
    """Bytes that the files of a run take."""
    total = 0
    for root, _, files in os.walk(folder.path):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
            except OSError:
                continue
    return total


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
