"""Delete one checkpoint of a run, except those needed to resume, marked best or pinned."""

from __future__ import annotations

import shutil
import time

from tunery import atomic
from tunery.errors import RunError
from tunery.i18n import t
from tunery.runs import manifest
from tunery.runs.folder import RunFolder, open_run
from tunery.services.runs import _metrics, _view

_TRASH = ".trash-"
"""Prefix of what a killed deletion leaves behind; the worker's next start removes it."""


def delete_checkpoint(name: str, step: int) -> int:
    """Delete one checkpoint of a run, whether or not the run is active.

    Returns:
        How many bytes that freed.

    Raises:
        RunError: It does not exist, or it is the newest valid, the best or a pinned one.
    """
    folder = open_run(name)
    path = folder.checkpoint_dir(step)
    if not path.is_dir():
        raise RunError(
            t("Run {run} has no checkpoint of step {step}.", run=folder.name, step=step),
            code="unknown",
            run=folder.name,
        )
    if why := _needed(folder, step):
        raise RunError(
            why, fix=t("Delete the whole run to free its space."), code="conflict", run=folder.name
        )
    size = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
    gone = path.with_name(f"{_TRASH}{path.name}-{time.time_ns()}")
    path.rename(gone)
    atomic.flush(gone.parent)
    shutil.rmtree(gone, ignore_errors=True)
    return size


def _needed(folder: RunFolder, step: int) -> str:
    """Why a checkpoint must be kept; empty if it can be deleted."""
    path = folder.checkpoint_dir(step)
    if (path / manifest.PINNED).exists():
        return t("The checkpoint of step {step} is pinned and cannot be deleted.", step=step)
    told = _metrics.run_log(folder)
    marked = [e["step"] for e in told.of_type("checkpoint") if e.get("best")]
    lowest = [c.step for c in _view.saved(folder, told) if c.best]
    if step in (*marked[-1:], *lowest):
        return t("The checkpoint of step {step} is the best one and cannot be deleted.", step=step)
    newest, _ = manifest.newest_valid(folder.checkpoints_dir)
    if path == newest:
        return t(
            "The checkpoint of step {step} is the newest complete one and cannot be deleted.",
            step=step,
        )
    return ""
