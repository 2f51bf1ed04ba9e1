"""Render chat templates in a child process (jinja_child.py).

One child serves the whole process. It starts with the first rendering, is restarted after a
template killed it, and exits when this process ends. A forked process starts its own child. The
start takes about 0.1 s.
"""

from __future__ import annotations

import atexit
import datetime
import functools
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery.chat import jinja_child
from tunery.chat.refusals import Failure


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one rendering.

    Args:
        text: The rendered text; empty on failure.
        spans: Character spans of ``{% generation %}`` blocks.
        error: Empty, or ``rejected`` (the template called ``raise_exception``), ``time``,
            ``memory``, ``output``, ``sandbox``, ``syntax``, ``broken``.
        message: The message of the template or of Jinja.
    """

    text: str = ""
    spans: tuple[tuple[int, int], ...] = ()
    error: str = ""
    message: str = ""

    @property
    def failure(self) -> Failure:
        """Why the rendering failed."""
        return Failure(self.error, self.message)


def render(source: str, jobs: Sequence[dict[str, Any]], *, now: datetime.datetime) -> list[Outcome]:
    """Render one template with many sets of variables, in order.

    Args:
        source: The Jinja source.
        jobs: Variables of each rendering, plain JSON values.
        now: The time that ``strftime_now`` formats.

    Returns:
        One outcome per job; failures are outcomes too.
    """
    if not jobs:
        return []
    request = {
        "key": hashlib.sha256(source.encode()).hexdigest(),
        "source": source,
        "now": now.isoformat(timespec="seconds"),
    }
    answers = _child().ask({**request, "jobs": list(jobs)})
    if answers is None and len(jobs) > 1:
        # One of the jobs killed the child; rendering them one by one shows which.
        return [outcome for job in jobs for outcome in render(source, [job], now=now)]
    if answers is None:
        return [Outcome(error="time")]
    return [
        Outcome(
            answer.get("text", ""),
            tuple((start, end) for start, end in answer.get("spans", ())),
            answer.get("error", ""),
            answer.get("message", ""),
        )
        for answer in answers
    ]


class _Child:
    """The child process and its pipes."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Send one request and wait for the answer; None if the child died."""
        with self._lock:
            process = self._process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                jinja_child.write(process.stdin, request)  # type: ignore[arg-type]
                answers = jinja_child.read(process.stdout)  # type: ignore[arg-type]
            except BrokenPipeError:
                answers = None
            except BaseException:
                self.close()  # interrupted: the pipe may hold part of a message
                raise
            if answers is None:
                self.close()
            return answers

    def close(self) -> None:
        """Kill the child, unless it belongs to the process that this one was forked from."""
        process, self._process = self._process, None
        if process is None or os.getpid() != self._owner:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                _close_quietly(pipe)

    def _start(self) -> subprocess.Popen[bytes]:
        # -I: isolated from environment variables and the user site; the new session keeps Ctrl-C
        # away from the child.
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(jinja_child.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        return self._process


def _close_quietly(pipe: Any) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return


@functools.cache
def _child_of(_pid: int) -> _Child:
    child = _Child()
    atexit.register(child.close)
    return child


def _child() -> _Child:
    return _child_of(os.getpid())
