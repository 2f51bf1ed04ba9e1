"""All runs of this machine: list, find, delete. Everything is read from the folders.

There is no index to go stale: a run's state comes from three small files and two windows of its
event log, so a thousand runs take about a second (measured in docs/log). Deleting renames the
folder to a ``.trash-`` name first, so that a half-deleted run is never listed.
"""

from __future__ import annotations

import os
import shutil
import time

from tunery import env
from tunery.errors import RunError
from tunery.i18n import t
from tunery.runs.folder import RunFolder, fsync_dir, names, open_run
from tunery.runs.process import WorkerFile, try_lock
from tunery.runs.status import RunStatus, derive

_TRASH = ".trash-"
_NEW = ".new-"


def list_runs() -> list[RunStatus]:
    """The state of every run, newest first."""
    runs = [derive(RunFolder(env.runs_dir() / name)) for name in names()]
    return sorted(runs, key=lambda run: (run.started or 0.0, run.name), reverse=True)


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
    folder = open_run(name)
    lock = try_lock(folder.lock_file)
    if lock is None or WorkerFile(folder).alive():
        if lock is not None:
            os.close(lock)
        raise RunError(
            t("Run {run} is in use and was not deleted.", run=folder.name),
            fix=t("Stop it first: tunery runs stop {run}", run=folder.name),
            run=folder.name,
        )
    try:
        size = size_bytes(folder)
        trash = folder.path.with_name(f"{_TRASH}{folder.name}-{time.time_ns()}")
        folder.path.rename(trash)
        fsync_dir(trash.parent)
    finally:
        os.close(lock)
    shutil.rmtree(trash)
    sweep()
    return size


def sweep() -> None:
    """Remove what killed deletions and starts left behind."""
    for entry in env.runs_dir().glob(f"{_TRASH}*"):
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
