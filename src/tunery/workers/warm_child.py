"""``python -m tunery.workers.warm_child TABLE SECONDS warm|cold``: the child of the warm pool.

Imports the heavy libraries once (``HEAVY`` beside the table, and the table's functions), then forks
a process for each request it reads from stdin and writes the answers to stdout as they finish. It
computes nothing itself, so no threads of torch or of a tokenizer exist when it forks. It exits with
its caller (stdin closes) or when idle.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST_AT_ONCE = 2


def main(argv: list[str]) -> int:
    """Serve until stdin closes or no request arrives for a while."""
    table, idle_seconds, warm = argv[0], float(argv[1]), argv[2] == "warm"
    answers = os.dup(1)
    os.dup2(2, 1)  # the output of libraries belongs in the log
    module, _, attribute = table.partition(":")
    home = importlib.import_module(module)
    for name in home.HEAVY if warm else ():
        importlib.import_module(name)
    questions = getattr(home, attribute)
    for place in questions.values() if warm else ():
        _function(place)
    return Child(questions, answers, idle_seconds).serve()


@dataclass
class _Work:
    """A process that handles one request."""

    number: int
    pid: int
    pipe: int
    said: bytearray = field(default_factory=bytearray)


class Child:
    """The main loop: requests from stdin, answers from the forked processes."""

    def __init__(self, questions: dict[str, str], answers: int, idle_seconds: float) -> None:
        self._questions = questions
        self._answers = answers
        self._idle_seconds = idle_seconds
        self._queue: list[dict[str, Any]] = []
        self._works: dict[int, _Work] = {}
        self._selector = selectors.DefaultSelector()
        self._orders = bytearray()

    def serve(self) -> int:
        """Run until stdin closes or the idle timeout expires."""
        self._selector.register(0, selectors.EVENT_READ)
        self._write({"ready": True})
        while True:
            busy = self._works or self._queue
            events = self._selector.select(None if busy else self._idle_seconds)
            if not events and not busy:
                return 0
            for key, _ in events:
                if key.fd == 0:
                    if not self._take_orders():
                        self._end_all()
                        return 0
                else:
                    self._take_answer(key.data)
            while self._queue and len(self._works) < MOST_AT_ONCE:
                self._fork(self._queue.pop(0))

    def _take_orders(self) -> bool:
        data = os.read(0, 1 << 16)
        self._orders += data
        *lines, rest = bytes(self._orders).split(b"\n")
        self._orders = bytearray(rest)
        for line in lines:
            order = json.loads(line)
            if "drop" in order:
                self._drop(order["drop"])
            else:
                self._queue.append(order)
        return bool(data)

    def _drop(self, number: int) -> None:
        self._queue = [order for order in self._queue if order["ask"] != number]
        if number in self._works:
            os.kill(self._works[number].pid, signal.SIGKILL)

    def _fork(self, order: dict[str, Any]) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._answer_in_child(order, writing)
        os.close(writing)
        work = _Work(order["ask"], pid, reading)
        self._works[work.number] = work
        self._selector.register(reading, selectors.EVENT_READ, work)

    def _answer_in_child(self, order: dict[str, Any], writing: int) -> None:
        """Handle one request in the forked process; never returns."""
        from tunery import memory

        memory.limit_to_available()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(self._answers)
        os.setpgid(0, 0)
        said = answered(self._questions, order)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(said, ensure_ascii=False).encode())
        sys.stderr.flush()
        os._exit(0)

    def _take_answer(self, work: _Work) -> None:
        data = os.read(work.pipe, 1 << 20)
        if data:
            work.said += data
            return
        self._selector.unregister(work.pipe)
        os.close(work.pipe)
        _, status = os.waitpid(work.pid, 0)
        del self._works[work.number]
        try:
            said = json.loads(bytes(work.said))
        except ValueError:
            said = {"ended": os.waitstatus_to_exitcode(status)}
        self._write({"number": work.number, **said})

    def _write(self, said: dict[str, Any]) -> None:
        data = json.dumps(said, ensure_ascii=False).encode() + b"\n"
        while data:
            data = data[os.write(self._answers, data) :]

    def _end_all(self) -> None:
        for work in self._works.values():
            os.kill(work.pid, signal.SIGKILL)


def answered(questions: dict[str, str], order: dict[str, Any]) -> dict[str, Any]:
    """Handle one request and return ``{"answer"}``, ``{"error"}`` or ``{"bug"}``."""
    from tunery import i18n
    from tunery.errors import TuneryError, memory_error, panic_error

    i18n.set_language(order["language"])
    wording = order.get("wording")
    try:
        with i18n.worded(_function(wording) if wording else None):
            return {"answer": _function(questions[order["question"]])(**order["arguments"])}
    except TuneryError as error:
        return {"error": error.stored()}
    except BaseException as error:  # noqa: BLE001  (the process ends here; its asker shows the bug)
        if (told := panic_error(error) or memory_error(error)) is not None:
            return {"error": told.stored()}
        return {"bug": traceback.format_exc()}


def _function(place: str) -> Callable[..., Any]:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
