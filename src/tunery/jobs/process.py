"""Runs one job in its process, given its folder and the table of kinds.

It reads the request from job.json, calls the function of its kind, and records progress and result;
no other process needs to listen. SIGTERM wakes it to check its control folder.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any

from tunery import env, i18n, memory
from tunery.errors import TuneryError, memory_error, panic_error
from tunery.i18n import t
from tunery.jobs.folder import EVENTS, LIVE, STATUSES, JobControl, JobFolder, keep_result
from tunery.registry import Registry
from tunery.workers.folder import read_json
from tunery.workers.log import LogWriter
from tunery.workers.process import Heartbeat, WorkerFile, try_lock

PROGRESS_SECONDS = 0.25
SLOT_SECONDS = 0.3
SLOTS = {"download": 3}
"""Maximum number of jobs per kind that run at once; others are queued. Other kinds never wait."""


class JobStopped(BaseException):
    """The job must stop or pause; not caught by ``except Exception``."""


class Handle:
    """Interface for the function of a job: reports progress and checks for requests to end.

    Args:
        folder: The job's folder.
        events: The job's event log.
    """

    def __init__(self, folder: JobFolder, events: LogWriter) -> None:
        self.folder = folder
        self._events = events
        self._control = JobControl(folder)
        self._asked = threading.Event()
        self._abrupt = False
        self._lock = threading.Lock()
        self._told = 0.0
        self._over = False

    def progress(
        self,
        done: float,
        total: float,
        unit: str = "",
        text: str = "",
        *,
        at_once: bool = False,
        **more: Any,
    ) -> None:
        """Report progress; may be called at any rate, written at most four times per second.

        Args:
            done: Amount done.
            total: Total amount; 0 while unknown. The end (done = total) is always written.
            unit: ``bytes``, ``rows``, ``files`` ...
            text: Short description of the current activity.
            at_once: Write it even if the last one has just been written.
            more: Additional facts for its page, plain data.
        """
        with self._lock:
            now = time.monotonic()
            if self._over or (
                now - self._told < PROGRESS_SECONDS
                and not at_once
                and not (total and done >= total)
            ):
                return
            self._told = now
            self._events.write("progress", done=done, total=total, unit=unit, text=text, **more)

    def say(self, text: str) -> None:
        """Write a message for users."""
        with self._lock:
            if not self._over:
                self._events.write("say", text=text)

    def status(self, status: str, **more: Any) -> None:
        """Write a status; after a final one nothing else is written, even by other threads."""
        with self._lock:
            self._over = status not in LIVE
            self._events.write("status", status=status, **more)

    def should_stop(self) -> bool:
        """Whether to end, for a stop or a pause; checked between pieces of work."""
        return self._asked.is_set() or self._requested()

    def stop_if_asked(self) -> None:
        """Abort the work here if the job should end.

        Raises:
            JobStopped: The job should end.
        """
        if self.should_stop():
            raise JobStopped

    @contextlib.contextmanager
    def interruptible(self) -> Generator[None]:
        """Make a request to end raise ``JobStopped`` immediately inside this block."""
        self._abrupt = True
        try:
            self.stop_if_asked()
            yield
        finally:
            self._abrupt = False

    def end_asked(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGTERM."""
        self._asked.set()
        if self._abrupt:
            self._abrupt = False  # only once
            raise JobStopped

    def how_to_end(self) -> str:
        """``paused`` or ``stopped``, as requested."""
        return "paused" if self._control.pause_requested() else "stopped"

    def _requested(self) -> bool:
        return self._control.stop_requested() or self._control.pause_requested()


JobFunction = Callable[[dict[str, Any], Handle], dict[str, Any]]
"""Runs one job: takes its arguments (plain data) and a handle, returns its result (plain data)."""


def main(folder: JobFolder, kinds: Registry[JobFunction]) -> int:
    """Run one job; however it ends, the end is recorded in the events."""
    card = read_json(folder.job_file)
    i18n.set_language(str(card.get("language") or "en"))
    memory.limit_to_machine()
    with (
        LogWriter(folder.events_file, required=EVENTS, statuses=STATUSES) as events,
        Heartbeat(WorkerFile(folder)),
    ):
        handle = Handle(folder, events)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, handle.end_asked)
        return _work(handle, kinds, str(card.get("kind")), card.get("arguments") or {})


def _work(
    handle: Handle, kinds: Registry[JobFunction], kind: str, arguments: dict[str, Any]
) -> int:
    try:
        with _slot(handle, kind):
            handle.status("running")
            result = kinds.get(kind)(arguments, handle)
        keep_result(handle.folder, result)
    except JobStopped:
        handle.status(handle.how_to_end())
        return 0
    except TuneryError as error:
        _failed(handle, error)
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _failed(handle, _disk_full(error))
        return 1
    except BaseException as error:
        traceback.print_exc()
        if (told := panic_error(error) or memory_error(error)) is not None:
            _failed(handle, told)
            return 1
        if not isinstance(error, Exception):
            raise
        reason = t("unexpected error: {why}", why=f"{error!r}"[:300])
        log = handle.folder.worker_log
        handle.status("failed", reason=reason, fix=t("See {log}", log=log))
        return 1
    handle.status("done")
    return 0


@contextlib.contextmanager
def _slot(handle: Handle, kind: str) -> Generator[None]:
    """Wait until one of the slots of this kind is free, and hold it."""
    if kind not in SLOTS:
        yield
        return
    env.locks_dir().mkdir(parents=True, exist_ok=True)
    places = [env.locks_dir() / f"job-{kind}-{number}.lock" for number in range(SLOTS[kind])]
    waiting = False
    while True:
        handle.stop_if_asked()
        for place in places:
            if try_lock(place) is not None:  # kept until the process ends
                yield
                return
        if not waiting:
            waiting = True
            handle.status("queued", reason=t("waiting for earlier jobs"))
        time.sleep(SLOT_SECONDS)


def _failed(handle: Handle, error: TuneryError) -> None:
    handle.status("failed", reason=error.message, fix=error.fix, error=error.stored())


def _disk_full(error: OSError) -> TuneryError:
    place = Path(str(error.filename or env.home()))
    free = env.human_bytes(env.free_bytes(place))
    return TuneryError(
        t("The disk at {place} is full ({free} free).", place=place, free=free),
        fix=t("Free some space, then resume it or start it again."),
        code="disk_full",
    )
