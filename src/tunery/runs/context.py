"""The context of a run: folder, settings, log, stop requests and device."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tunery.config.config import Config
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder
from tunery.runs.signals import StopRequests

PROGRESS_SECONDS = 1.0


@dataclass
class RunContext:
    """The context of one session of a run: from its start, or a resume, to its end.

    Args:
        folder: The run's folder.
        config: The run's frozen settings.
        meta: The ``_run`` part of config.yaml.
        events: The writer of the run's event log.
        stop: Requests to stop or save.
        device: ``cpu`` or ``cuda:N``.
        allow_drift: Changed fields that the user accepts on a resume.
        started: Start of this session, in seconds of the monotonic clock.
    """

    folder: RunFolder
    config: Config
    meta: dict[str, Any]
    events: EventWriter
    stop: StopRequests
    device: str
    allow_drift: Collection[str] = ()
    started: float = field(default_factory=time.monotonic)
    _phase: str = ""

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Log the start and the end of a phase.

        Raises:
            Stopped: A stop was requested before the phase.
        """
        self.stop.check()
        self.events.write("phase", phase=name, state="begin")
        self._phase = name
        started = time.monotonic()
        yield
        seconds = round(time.monotonic() - started, 3)
        self.events.write("phase", phase=name, state="end", seconds=seconds)

    def doing(self, what: str, count: int | None = None, *, done: int = 0) -> None:
        """Log what the run does within the current phase, until the next such event.

        Args:
            what: ``answers``, ``evaluation``, ``forgetting`` or ``save`` (see ``words.doing``);
                empty for nothing but the phase itself.
            count: Number of prompts or rows, if it is about some.
            done: How many of them are done.
        """
        self.events.write(
            "phase", phase=self._phase, state="doing", doing=what, count=count, done=done
        )

    def counting(self, what: str, count: int) -> Callable[[int], None]:
        """Log what the run does (see ``doing``), and then how far it is.

        Returns:
            A callback with the number done so far, which logs at most one event per second.
        """
        self.doing(what, count)
        last = time.monotonic()

        def report(done: int) -> None:
            nonlocal last
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                self.doing(what, count, done=done)

        return report

    def progress(self, phase: str) -> Callable[[int, int], None]:
        """A callback ``(done, total)`` that logs at most one event per second.

        It raises ``Stopped`` if a stop was requested.
        """
        last = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal last
            self.stop.check()
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                self.events.write("phase", phase=phase, state="progress", done=done, total=total)

        return report

    def warn(self, code: str, text: str, count: int = 1) -> None:
        """Log a warning.

        Args:
            code: Its code.
            text: The sentence, translated.
            count: How many times it applies, such as a number of rows.
        """
        self.events.write("warning", code=code, text=text, count=count)
