"""Checkpoints: whole or absent, exact, and never one too few.

A checkpoint is staged in ``.staging-<step>-<pid>``, every file is flushed, ``MANIFEST.json`` (sizes
and SHA-256, see ``runs.manifest``) comes last, the folder is renamed and its parent flushed. It
holds the weights in the ecosystem's own format (``adapter/`` or ``model/``), the optimizer with the
fp32 masters of everything trained (``optimizer.safetensors``) and the position (``state.json``).
No pickle. Retention goes by the step in the manifest and never touches the newest, the best or a
pinned one.
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
        bytes: What it takes on the disk.
        seconds: What it took to write.
    """

    folder: Path
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that verified.

    Args:
        folder: Where it is.
        manifest: Its manifest.
        rejected: Newer ones that were passed over, and why.
    """

    folder: Path
    manifest: dict[str, Any]
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Steps done when it was made."""
        return int(self.manifest["step"])

    def state(self) -> State:
        """The position it holds."""
        return State.from_dict(json.loads((self.folder / STATE).read_text(encoding="utf-8")))

    def restore(self, optimizer: Optimizer, parallel: Parallel) -> State:
        """Load weights and optimizer in place and return the position."""
        optimizer.load(parallel.load(self.folder / OPTIMIZER))
        return self.state()


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies, with those passed over; None if there is none."""
    found, rejected = manifest.newest_valid(folder)
    if found is None:
        return None
    return Checkpoint(found, manifest.read_manifest(found), rejected)


@dataclass
class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they are kept; made if missing.
        keep: How many stay, beside the best and the pinned ones.
        write_weights: Writes ``adapter/`` or ``model/`` into a folder.
        facts: What every manifest says: ``run``, ``config_hash``, ``data_hash``, ``versions`` and
            whatever else a resume is compared with.
        parallel: Who writes the optimizer's state.
    """

    folder: Path
    keep: int
    write_weights: Callable[[Path], None]
    facts: dict[str, Any]
    parallel: Parallel

    def reserve(self, size: int) -> int:
        """Allocate the bytes of a checkpoint and release them.

        Returns:
            ``size``.

        Raises:
            OSError: The disk does not have that many bytes, or cannot be written.
        """
        self.folder.mkdir(exist_ok=True)
        storage.allocate(self.folder / f".staging-room-{os.getpid()}", size)
        return size

    def save(self, state: State, optimizer: Optimizer) -> Saved:
        """Write a checkpoint of ``state`` and drop what need not be kept.

        Raises:
            RunFailed: A weight or an optimizer state is not finite; nothing is written.
            OSError: The disk; the staging folder of this save is gone, older checkpoints stand.
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
        self.folder.mkdir(exist_ok=True)  # never make a deleted run folder anew
        staging = self.folder / f".staging-{state.step}-{os.getpid()}"
        storage.remove_tree(staging)
        faults.point("save.begin", step=state.step)
        try:
            staging.mkdir()
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
        """Delete all but the newest ``keep``, the best and the pinned; return what was deleted.

        Only folders whose manifest is sound count towards ``keep``; the others are left alone,
        for a person to look at.
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
        """The checkpoint of one step, verified.

        Raises:
            RunError: It is missing or damaged.
        """
        folder = self.folder / f"step-{step:08d}"
        return Checkpoint(folder, manifest.verify(folder))

    def _already(self, final: Path) -> int | None:
        """Bytes of a good checkpoint of that step; a damaged one is moved out of the way.

        A step is a function of the step before, so a good one holds these very weights; putting
        another in its place would need a moment with neither.
        """
        if not final.exists():
            return None
        try:
            return _size(manifest.verify(final))
        except RunError:
            storage.remove_tree(final)
            return None

    def clean(self) -> None:
        """Remove what killed saves and deletions left behind; the run's lock must be held."""
        if self.folder.is_dir():
            for folder in [*self.folder.glob(".staging-*"), *self.folder.glob(".trash-*")]:
                storage.remove_tree(folder)


def _size(written: dict[str, Any]) -> int:
    return sum(int(entry["size"]) for entry in written["files"])
