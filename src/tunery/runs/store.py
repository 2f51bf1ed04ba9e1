"""List, find and delete the runs on this machine.

There is no index: the status of a run is read from three small files and two parts of its event
log, so a thousand runs take about a second (measured in docs/log). A deleted run is first renamed
to ``.trash-...``, so that a partially deleted one is never listed.
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
"""Time in which a deletion can be undone; the page offers it for 10 s."""

_TRASH = ".trash-"
_UNDO = ".undo-"
_UNDO_NAME = re.compile(rf"\.undo-({NAME.pattern})-(\d+)")
_NEW = ".new-"


def list_runs() -> list[RunStatus]:
    """The status of every run, newest first."""
    runs = [derive(RunFolder(env.runs_dir() / name)) for name in names()]
    return sorted(runs, key=lambda run: (run.started or 0.0, run.name), reverse=True)


def newest_runs(count: int) -> tuple[list[RunStatus], int]:
    """The status of the newest ``count`` runs, and the number of all runs."""
    folders = [RunFolder(env.runs_dir() / name) for name in names()]
    folders.sort(key=lambda f: (number(f.card().get("created")) or 0.0, f.name), reverse=True)
    return [derive(folder) for folder in folders[:count]], len(folders)


def get(name: str) -> RunStatus:
    """The status of one run.

    Raises:
        RunError: The run does not exist.
    """
    return derive(open_run(name))


def delete(name: str) -> int:
    """Delete a run with everything in its folder.

    Returns:
        Bytes freed.

    Raises:
        RunError: The run does not exist or is active.
    """
    put = move_to_trash(name, as_=_TRASH)
    shutil.rmtree(put.path)
    sweep()
    return put.bytes


@dataclass(frozen=True)
class Trashed:
    """A deleted run that can be restored.

    Args:
        run: Its name.
        path: Path of its folder now.
        bytes: Size of its files.
    """

    run: str
    path: Path
    bytes: int

    @property
    def token(self) -> str:
        """The argument for ``restore``."""
        return self.path.name


def move_to_trash(name: str, *, as_: str = _UNDO) -> Trashed:
    """Delete a run so that ``restore`` can undo it for ``UNDO_SECONDS``.

    The first ``sweep`` after that time deletes its files.

    Args:
        name: The run.
        as_: Prefix of the folder's new name.

    Raises:
        RunError: The run does not exist or is active.
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
    return Trashed(folder.name, path, size)


def restore(token: str) -> str:
    """Undo ``move_to_trash``.

    Returns:
        The run's name.

    Raises:
        RunError: The run was deleted permanently, or a new run has the name.
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
    """Remove the leftovers of interrupted deletions and starts, and deletions past their undo time.

    Args:
        now: Wall-clock time in seconds, for tests.
    """
    now = time.time() if now is None else now
    for entry in env.runs_dir().glob(f"{_TRASH}*"):
        shutil.rmtree(entry, ignore_errors=True)
    for entry in env.runs_dir().glob(f"{_UNDO}*"):
        match = _UNDO_NAME.fullmatch(entry.name)
        # abs(): if the clock was set back, a deleted run must not be kept for years.
        if match is None or abs(now - int(match[2]) / 1e9) > UNDO_SECONDS:
            shutil.rmtree(entry, ignore_errors=True)
    for entry in env.runs_dir().glob(f"{_NEW}*"):
        # .new-NAME-PID-RANDOM: incomplete; its process may still be working.
        pid = entry.name.rsplit("-", 2)[-2]
        if not (pid.isdigit() and _exists(int(pid))):
            shutil.rmtree(entry, ignore_errors=True)


def size_bytes(folder: RunFolder) -> int:
    """Total size of the files of a run, in bytes."""
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
