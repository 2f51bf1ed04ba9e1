"""Lock a device for one run at a time; the kernel releases the lock if the process dies.

The lock is an ``flock`` on ``device-<id>.lock`` under TUNERY_HOME/locks; the file names its holder.
A run that has to wait creates a ticket: a locked file with its name. The oldest ticket of a live
process is next, unless the queue was reordered (``runs.queue``).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tunery import env
from tunery.errors import LaunchError
from tunery.i18n import t
from tunery.workers.folder import read_json
from tunery.workers.process import is_locked, try_lock

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Holder:
    """The run that holds a device.

    Args:
        run: Its name.
        pid: Process id of its worker.
    """

    run: str
    pid: int
    ahead: int = 0
    """Number of other runs that wait before the one that asks."""

    def reason(self, device: str) -> str:
        """Why a run waits, in English, for its event."""
        waits = f"waiting for {device}: in use by run {self.run or '?'}"
        return f"{waits}, {self.ahead} more ahead in the queue" if self.ahead else waits

    def as_fields(self, device: str) -> dict[str, Any]:
        """The fields of the ``queued`` event: the sentence and its parts."""
        return {
            "reason": self.reason(device),
            "device": device,
            "held_by": self.run,
            "ahead": self.ahead,
        }


def device_id(device: str) -> str:
    """The name of a device in its lock file: ``cpu``, ``cuda-0``.

    ``cuda:N`` is an index into CUDA_VISIBLE_DEVICES; it is mapped to the machine's own index (or
    UUID).
    """
    kind, _, index = device.partition(":")
    if kind == "cuda":
        index = index or "0"
        visible = [v.strip() for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
        if index.isdigit() and int(index) < len(visible) and visible[int(index)]:
            index = visible[int(index)]
    name = f"{kind}-{index}" if index else kind
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def read_order(queue: Path) -> Callable[[str], tuple[int, str]]:
    """The sort key for the tickets of a queue: reordered tickets first, then by time of arrival.

    Args:
        queue: The folder of tickets; the file with the order is next to it.

    Returns:
        A function from the name of a ticket to its sort key.
    """
    said = read_json(queue.with_suffix(".order")).get("tickets")
    wanted = cast("list[object]", said) if isinstance(said, list) else []
    place = {name: i for i, name in enumerate(wanted) if isinstance(name, str)}
    return lambda name: (place.get(name, len(place)), name)


class DeviceLock:
    """The lock of one device.

    Args:
        device: ``cpu`` or ``cuda:N``.
        run: Name of the run that takes it, shown to waiting runs.
    """

    def __init__(self, device: str, *, run: str = "") -> None:
        self.device = device
        self.run = run
        folder = env.locks_dir()
        self.path = folder / f"device-{device_id(device)}.lock"
        self._queue = folder / f"device-{device_id(device)}.queue"
        self._descriptor: int | None = None

    def acquire(
        self,
        *,
        wait: bool = True,
        on_wait: Callable[[Holder], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> bool:
        """Acquire the device; if it is in use, wait in the queue.

        Args:
            wait: False returns at once if the device is in use.
            on_wait: Called with the holder, initially and whenever it changes.
            should_stop: Called while waiting; True cancels the wait.

        Returns:
            True once the device is acquired, False if it is in use or the wait was cancelled.

        Raises:
            LaunchError: The locks folder cannot be written.
        """
        with self._ticket() as ticket:
            reported: Holder | None = None
            while True:
                ahead = self._ahead(ticket)
                if ahead == 0 and self._try():
                    ahead = self._ahead(ticket)
                    if ahead == 0:
                        return True
                    self.release()  # the queue was reordered meanwhile
                if not wait or (should_stop and should_stop()):
                    return False
                holder = self.holder(ahead=ahead)
                if holder != reported and on_wait and holder:
                    on_wait(holder)
                    reported = holder
                time.sleep(POLL_SECONDS)

    def release(self) -> None:
        """Release the device; does nothing if it is not held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def held(self) -> bool:
        """Whether a process holds the device."""
        return is_locked(self.path)

    def holder(self, *, ahead: int = 0) -> Holder | None:
        """The holder of the device; None if it is free or the holder is not recorded yet."""
        if not self.held():
            return None
        try:
            said: Any = json.loads(self.path.read_text(encoding="utf-8"))
            return Holder(run=str(said["run"]), pid=int(said["pid"]), ahead=ahead)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def __enter__(self) -> DeviceLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _try(self) -> bool:
        descriptor = self._lock(self.path)
        if descriptor is None:
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"run": self.run, "pid": os.getpid()}).encode(), 0)
        self._descriptor = descriptor
        return True

    @contextlib.contextmanager
    def _ticket(self) -> Generator[Path]:
        """Join the queue with a locked file whose name sorts by time of arrival since boot."""
        self._make(self._queue)
        path = self._queue / f"{time.monotonic_ns():020d}-{os.getpid()}"
        descriptor = self._lock(path)
        if descriptor is not None:
            os.pwrite(descriptor, json.dumps({"run": self.run, "pid": os.getpid()}).encode(), 0)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
            if descriptor is not None:
                os.close(descriptor)

    def _ahead(self, ticket: Path) -> int:
        """Count the tickets of live processes before ours; delete those of dead ones."""
        count = 0
        order = read_order(self._queue)
        mine = order(ticket.name)
        for other in self._queue.iterdir():
            if is_locked(other):
                count += order(other.name) < mine
            elif other.name < ticket.name:
                other.unlink(missing_ok=True)
        return count

    def _lock(self, path: Path) -> int | None:
        self._make(path.parent)
        try:
            return try_lock(path)
        except OSError as error:
            raise _no_locks(path, error) from error

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_locks(folder, error) from error


def _no_locks(path: Path, error: OSError) -> LaunchError:
    return LaunchError(
        t("{path}: the device lock cannot be created: {reason}.", path=path, reason=error.strerror),
        fix=t("Make that folder writable, or set TUNERY_HOME to another one."),
        path=path,
    )
