"""Write, verify, restore and retain checkpoints; each is written atomically and exactly.

A checkpoint is staged in ``.staging-<step>-<pid>``, every file is flushed, ``MANIFEST.json`` (sizes
and SHA-256, see ``runs.manifest``) is written last, the folder is renamed and its parent flushed.
It holds the weights in the ecosystem's own format (``adapter/`` or ``model/``), the optimizer state
with the fp32 master weights of all trained parameters (``optimizer.safetensors``) and the position
(``state.json``). No pickle is used. Retention is based on the step in the manifest and never
deletes the newest, the best or a pinned checkpoint.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunery import atomic, faults, storage
from tunery.errors import RunError, RunFailed
from tunery.i18n import t
from tunery.optimizers.base import Optimizer
from tunery.parallel.base import Parallel
from tunery.runs import manifest
from tunery.runs.manifest import Rejected
from tunery.train.state.state import State

OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
PINNED = manifest.PINNED


@dataclass(frozen=True)
class Saved:
    """One finished save.

    Args:
        folder: The checkpoint.
        bytes: Its size on disk.
        seconds: The time to write it.
    """

    folder: Path
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Args:
        folder: Its folder.
        manifest: Its manifest.
        rejected: Newer checkpoints that were rejected, and why.
    """

    folder: Path
    manifest: dict[str, Any]
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Steps done when it was saved."""
        return int(self.manifest["step"])

    def state(self) -> State:
        """The saved position of the run."""
        return State.from_dict(json.loads((self.folder / STATE).read_text(encoding="utf-8")))

    def restore(self, optimizer: Optimizer, parallel: Parallel) -> State:
        """Load weights and optimizer state in place and return the position."""
        optimizer.load(parallel.load(self.folder / OPTIMIZER))
        return self.state()


def newest(folder: Path) -> Checkpoint | None:
    """The newest valid checkpoint, with the newer rejected ones; None if there is none."""
    found, rejected = manifest.newest_valid(folder)
    if found is None:
        return None
    return Checkpoint(found, manifest.read_manifest(found), rejected)


@dataclass
class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Their parent folder; created if missing.
        keep: How many to keep, besides the best and the pinned ones.
        write_weights: Writes ``adapter/`` or ``model/`` into a folder.
        facts: Fields of every manifest: ``run``, ``config_hash``, ``data_hash``, ``versions`` and
            everything else that a resume compares.
        parallel: Writes the optimizer's state.
    """

    folder: Path
    keep: int
    write_weights: Callable[[Path], None]
    facts: dict[str, Any]
    parallel: Parallel

    def reserve(self, size: int) -> int:
        """Allocate the disk space of a checkpoint and release it.

        Returns:
            ``size``.

        Raises:
            OSError: The disk does not have that many bytes, or cannot be written.
        """
        self.folder.mkdir(exist_ok=True)
        storage.allocate(self.folder / f".staging-room-{os.getpid()}", size)
        return size

    def save(self, state: State, optimizer: Optimizer) -> Saved:
        """Write a checkpoint of ``state`` and delete those that need not be kept.

        Raises:
            RunFailed: A weight or an optimizer state is not finite; nothing is written.
            OSError: A disk error; the staging folder is removed and older checkpoints are intact.
        """
        started = time.monotonic()
        final = self.folder / f"step-{state.step:08d}"
        if (there := self._already(final)) is not None:
            return Saved(final, there, time.monotonic() - started)
        if not optimizer.is_finite():
            raise RunFailed(
                t(
                    "Step {step}: a trained weight or an optimizer state is not finite, so "
                    "this state was not saved. Older checkpoints are intact.",
                    step=state.step,
                ),
                fix=t(
                    "Lower optim.learning_rate, then train again from the last checkpoint's "
                    "settings."
                ),
            )
        self.folder.mkdir(exist_ok=True)  # no parents: never recreate a deleted run folder
        staging = self.folder / f".staging-{state.step}-{os.getpid()}"
        storage.remove_tree(staging)
        faults.point("save.begin", step=state.step)
        try:
            staging.mkdir()
            with optimizer.evaluating():
                self.write_weights(staging)
            self.parallel.save(optimizer.state(), staging / OPTIMIZER)
            storage.write_text(staging / STATE, json.dumps(state.as_dict(), indent=1))
            written = manifest.write_manifest(
                staging, step=state.step, best=state.best_step == state.step, **self.facts
            )
        except BaseException:
            storage.remove_tree(staging)
            raise
        staging.rename(final)
        atomic.flush(self.folder)
        self.retain(state.best_step)
        faults.point("save.end", step=state.step)
        return Saved(final, _size(written), time.monotonic() - started)

    def retain(self, best_step: int | None) -> list[Path]:
        """Delete all but the newest ``keep``, the best and the pinned; return the deleted folders.

        Only folders with a valid manifest count towards ``keep``; the others are left in place for
        inspection.
        """
        sound: list[tuple[int, Path]] = []
        for folder in manifest.list_checkpoints(self.folder):
            try:
                sound.append((int(manifest.read_manifest(folder)["step"]), folder))
            except RunError:
                continue
        sound.sort()
        deleted: list[Path] = []
        for step, folder in sound[: -self.keep]:
            if step != best_step and not (folder / PINNED).exists():
                storage.remove_tree(folder)
                deleted.append(folder)
        return deleted

    def at(self, step: int) -> Checkpoint:
        """Verify and return the checkpoint of one step.

        Raises:
            RunError: It is missing or damaged.
        """
        folder = self.folder / f"step-{step:08d}"
        return Checkpoint(folder, manifest.verify(folder))

    def _already(self, final: Path) -> int | None:
        """Size in bytes of a valid checkpoint of that step; a damaged one is removed.

        A step is a function of the step before, so a valid checkpoint holds exactly these weights;
        replacing it would leave a moment without either.
        """
        if not final.exists():
            return None
        try:
            return _size(manifest.verify(final))
        except RunError:
            storage.remove_tree(final)
            return None

    def clean(self) -> None:
        """Remove leftovers of interrupted saves and deletions; the run's lock must be held."""
        if self.folder.is_dir():
            for folder in [*self.folder.glob(".staging-*"), *self.folder.glob(".trash-*")]:
                storage.remove_tree(folder)


def _size(written: dict[str, Any]) -> int:
    return sum(int(entry["size"]) for entry in written["files"])
