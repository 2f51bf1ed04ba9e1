"""Decide when a run is saved, and pause it while the disk is full.

A full disk never ends a run: the run pauses and reports why, retries every ``RETRY_SECONDS``, and
continues where it was. Older checkpoints are never deleted to free space.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tunery.config.checkpoint import CheckpointConfig
from tunery.i18n import t
from tunery.optimizers.base import Optimizer
from tunery.runs.events import EventWriter
from tunery.runs.signals import StopRequests
from tunery.storage import full_disk
from tunery.train.feed.order import Order
from tunery.train.state.checkpoint import Checkpoints
from tunery.train.state.state import State

T = TypeVar("T")
RETRY_SECONDS = 30.0
POLL_SECONDS = 0.2
MANY_SAVES = 100
"""More saves than these at the ends of epochs are likely not meant."""


def saves_left(config: CheckpointConfig, steps_per_epoch: int, step: int, num_steps: int) -> int:
    """As ``Saver.left``."""
    every = steps_per_epoch if config.every == "epoch" else config.every
    return Order.times_left(step, num_steps, every if isinstance(every, int) else num_steps)


def often(config: CheckpointConfig, steps_per_epoch: int, num_steps: int) -> str:
    """What to say of a run that saves after very many short epochs; empty for any other."""
    count = saves_left(config, steps_per_epoch, 1, num_steps)
    if config.every != "epoch" or count <= MANY_SAVES:
        return ""
    return t(
        "A checkpoint is saved after each epoch, {count:,} times; to save less often, set "
        "checkpoint.every to a number of steps, such as {steps:,}.",
        count=count,
        steps=-(-num_steps // MANY_SAVES),
    )


@dataclass
class Saver:
    """Saves one run when it is due.

    Args:
        checkpoints: Writes them.
        config: How often to save.
        steps_per_epoch: The interval of ``every: epoch``.
        events: Receives checkpoint, paused and running events.
        stop: Polled while the disk is full; holds save requests.
    """

    checkpoints: Checkpoints
    config: CheckpointConfig
    steps_per_epoch: int
    events: EventWriter
    stop: StopRequests
    saved_step: int = -1
    _saved_at: float = field(default_factory=time.monotonic)

    def due(self, state: State) -> bool:
        """Whether the state should be saved now, apart from a stop or the end of the run."""
        if state.step == self.saved_step:
            return False
        every = self.steps_per_epoch if self.config.every == "epoch" else self.config.every
        first = self.saved_step < 0 and self.config.every != "never"
        if first or self.stop.save():
            return True
        if isinstance(every, int) and state.step % every == 0:
            return True
        if state.best_step == state.step and state.evaluated_at == state.step:
            return True
        minutes = self.config.every_minutes
        return minutes is not None and time.monotonic() - self._saved_at > 60 * minutes

    def left(self, step: int, num_steps: int) -> int:
        """Number of scheduled saves still due once ``step`` is taken, that of this step included.

        A save for a new best step or by time is not counted.
        """
        return saves_left(self.config, self.steps_per_epoch, step, num_steps)

    def save(self, state: State, optimizer: Optimizer) -> bool:
        """Save, waiting for disk space if there is none.

        Returns:
            False if a stop was requested while the disk was full.

        Raises:
            RunFailed: A weight is not finite.
            OSError: A disk error other than a full or read-only disk.
        """
        if state.step == self.saved_step:
            return True
        what = t("waiting to save step {step}", step=state.step)
        saved = self._with_room(lambda: self.checkpoints.save(state, optimizer), what)
        if saved is None:
            return False
        self.saved_step, self._saved_at = state.step, time.monotonic()
        self.stop.saved()
        self.events.write(
            "checkpoint",
            step=state.step,
            folder=saved.folder.name,
            bytes=saved.bytes,
            seconds=round(saved.seconds, 4),
            best=state.best_step == state.step,
        )
        return True

    def reserve(self, optimizer: Optimizer) -> bool:
        """Check that the disk has room for a checkpoint, if none is saved at the start.

        Returns:
            False if a stop was requested while the disk was full.

        Raises:
            OSError: A disk error other than a full or read-only disk.
        """
        if self.config.every != "never" or self.saved_step >= 0:
            return True
        sizes = {name: tensor.nbytes for name, tensor in optimizer.state().items()}
        state = sum(sizes.values())
        weights = sum(size for name, size in sizes.items() if name.startswith("weight/"))
        what = t("not enough disk space for a checkpoint")
        return self._with_room(lambda: self.checkpoints.reserve(state + weights), what) is not None

    def _with_room(self, write: Callable[[], T], what: str) -> T | None:
        """Write, and retry while the disk is full; None if a stop is requested meanwhile."""
        paused = False
        while True:
            try:
                done = write()
                break
            except OSError as error:
                if full_disk(error) is None:
                    raise
                self.pause(error, what)
                paused = True
            if not self.wait():
                return None
        if paused:
            self.events.write("status", status="running", reason=t("disk space is available again"))
        return done

    def pause(self, error: OSError, what: str) -> None:
        """Report that the run is paused because of the disk."""
        disk = t("disk read-only") if error.errno == errno.EROFS else t("disk full")
        reason = t("{disk}: {what}, retrying every {seconds:g} s",
                   disk=disk, what=what, seconds=RETRY_SECONDS)  # fmt: skip
        self.events.write("status", status="paused", reason=reason)

    def wait(self) -> bool:
        """Wait until the next retry; False if a stop was requested."""
        end = time.monotonic() + RETRY_SECONDS
        while (left := end - time.monotonic()) > 0 and not self.stop.stop():
            time.sleep(min(left, POLL_SECONDS))
        return not self.stop.stop()
