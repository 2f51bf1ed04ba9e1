"""The warm pool: runs heavy requests of a light process in a child with torch already imported.

The child (``workers.warm_child``) forks a process for each request, so that a request can be
cancelled, may crash, and frees its memory afterwards. Requests and answers are JSON lines; the
possible requests are in the table ``ENTRY["questions"]``. In a lane the newest request wins: the
previous one is cancelled and its caller gets ``Superseded``.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

from tunery import env, errors, i18n
from tunery.errors import TuneryError
from tunery.i18n import t
from tunery.workers import warm_child
from tunery.workers.entry import ENTRY

TIMEOUT_SECONDS = 120.0
IDLE_SECONDS = 900.0
"""After this long without a request, the child exits and frees its memory."""


class Superseded(TuneryError):
    """A newer request in the same lane replaced this one."""


class QuestionBug(RuntimeError):
    """A request raised an exception other than ``TuneryError``: a bug, with its traceback."""


@dataclass
class _Question:
    """A request waiting for its answer."""

    number: int
    words: dict[str, Any]
    done: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] = field(default_factory=dict[str, Any])
    tries: int = 0
    asked_of: subprocess.Popen[bytes] | None = None

    def settle(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.done.set()


class WarmPool:
    """The caller's side of the pool; any number of threads may send requests.

    Args:
        questions: ``module:attribute`` of the table of requests.
        idle_seconds: When an idle child exits.
        warm: Whether the child imports the heavy libraries before the first request.
    """

    def __init__(
        self, questions: str, *, idle_seconds: float = IDLE_SECONDS, warm: bool = True
    ) -> None:
        self._command = [sys.executable, "-P", "-m", warm_child.__name__, questions]
        self._command += [str(idle_seconds), "warm" if warm else "cold"]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._ready = False
        self._waiting: dict[int, _Question] = {}
        self._lanes: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def ask(
        self,
        question: str,
        *,
        lane: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        **arguments: Any,
    ) -> Any:
        """Send a request and wait for the answer.

        Args:
            question: A name in the table.
            lane: Only the newest request of a lane is answered.
            timeout_seconds: After this long, the request is cancelled.
            arguments: Plain data, passed to the function behind the request.

        Returns:
            The return value of that function: plain data.

        Raises:
            TuneryError: Raised by the function; or a timeout, or its process ended.
            Superseded: A newer request was sent in the lane.
            QuestionBug: The function raised any other exception.
        """
        said = {"language": i18n.language(), "wording": i18n.wording()}
        words = {"question": question, "arguments": arguments, **said}
        with self._lock:
            asked = _Question(next(self._numbers), words)
            before = self._waiting.get(self._lanes.get(lane, 0)) if lane else None
            if before is not None:
                self._drop(before)
                before.settle({"superseded": True})
            if lane:
                self._lanes[lane] = asked.number
            self._waiting[asked.number] = asked
            self._send(asked)
        if not asked.done.wait(timeout_seconds):
            with self._lock:
                self._drop(asked)
            raise TuneryError(
                t("The answer took longer than {seconds:g} seconds and was cancelled.",
                  seconds=timeout_seconds),
                fix=t("Run it in a terminal, where there is no time limit: tunery plan"),
                code="timeout",
            )  # fmt: skip
        return _answer(asked.answer)

    def warm(self) -> None:
        """Start the child now, so that the first request need not wait for its imports."""
        with self._lock:
            self._started()

    @property
    def is_warm(self) -> bool:
        """Whether the child has imported everything and can answer immediately."""
        return self._ready

    def close(self) -> None:
        """Stop the child and cancel all requests in progress."""
        with self._lock:
            process, reader = self._process, self._reader
            for asked in list(self._waiting.values()):
                asked.tries = 2
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            assert reader is not None
            reader.join(10)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            env.cache_dir().mkdir(parents=True, exist_ok=True)
            environ = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
            with (env.cache_dir() / "warm.log").open("wb") as log:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environ,
                    start_new_session=True,  # Ctrl-C in the server must not reach the child
                )
            self._process, self._ready = process, False
            self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
            self._reader.start()
        return self._process

    def _send(self, asked: _Question) -> None:
        asked.tries += 1
        asked.asked_of = self._started()
        self._write({"ask": asked.number, **asked.words})

    def _drop(self, asked: _Question) -> None:
        self._waiting.pop(asked.number, None)
        self._write({"drop": asked.number})

    def _write(self, order: dict[str, Any]) -> None:
        stdin = self._started().stdin
        assert stdin is not None
        # If the child has just exited, its reader notices and sends the request again.
        with contextlib.suppress(BrokenPipeError, ValueError):
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            with self._lock:
                if said.get("ready"):
                    self._ready = True
                    continue
                asked = self._waiting.pop(said["number"], None)
            if asked is not None:
                asked.settle(said)
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # unwritten data for the child is discarded
                pipe.close()  # pyright: ignore[reportOptionalMemberAccess]
        with self._lock:
            if self._process is process:
                self._process, self._ready = None, False
            for asked in [a for a in self._waiting.values() if a.asked_of is process]:
                if asked.tries > 1:
                    self._waiting.pop(asked.number)
                    asked.settle({"ended": code})
                else:
                    self._send(asked)


def _answer(said: dict[str, Any]) -> Any:
    if "answer" in said:
        return said["answer"]
    if "error" in said:
        raise errors.rebuilt(said["error"])
    if "bug" in said:
        raise QuestionBug(said["bug"])
    if said.get("superseded"):
        raise Superseded(t("Superseded by a newer request."), code="superseded")
    raise TuneryError(
        t("The background check exited with status {code}.", code=said.get("ended")),
        fix=t("A status of -6 or -9 often means out of memory. Log: {log}",
              log=env.cache_dir() / "warm.log"),
        code="ended",
    )  # fmt: skip


@functools.cache
def pool() -> WarmPool:
    """The pool of this process."""
    return WarmPool(ENTRY["questions"])


def ask(
    question: str, *, lane: str = "", timeout_seconds: float = TIMEOUT_SECONDS, **arguments: Any
) -> Any:
    """Send a request to the warm child of this process; see :meth:`WarmPool.ask`."""
    return pool().ask(question, lane=lane, timeout_seconds=timeout_seconds, **arguments)
