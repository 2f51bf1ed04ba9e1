"""What the zygote's children do: whole runs, with a fault planned in some of them."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.train import tiny

import tunery.train.session  # noqa: F401 - imported once, before the forks
from tunery import faults
from tunery.runs import context as context
from tunery.train import worker
from tunery.train.state import saving


def warm() -> None:
    """Import and use once, before the forks, what every run needs."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401

    import tunery.adapters.freeze
    import tunery.adapters.full
    import tunery.train.session  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        tiny.run(Path(folder) / "run", tiny.config(train={"max_steps": 1}))


SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"adapter": {"type": "full"}, "optim": {"learning_rate": 3e-3}},
    "short": {"train": {"max_steps": 6}},
    "big": {"adapter": {"type": "full"}, "checkpoint": {"keep": 1}},
}


class Board:
    """Two numbers in a file that outlive a killed child: inside a save?, newest finished save."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(struct.pack("<qq", 0, -1))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 16)

    def write(self, saving: int, step: int) -> None:
        self._map[:] = struct.pack("<qq", saving, step)

    def read(self) -> tuple[int, int]:
        return struct.unpack("<qq", self._map[:])  # type: ignore[return-value]


def watch(board: Board) -> None:
    """Write down when a save begins and ends."""
    newest = board.read()[1]

    def hook(where: str, values: dict[str, Any]) -> None:
        nonlocal newest
        if where == "save.begin":
            board.write(1, newest)
        elif where == "save.end":
            newest = values["step"]
            board.write(0, newest)

    faults.hook = hook


def run(path: str, settings: str = "lora", board: str | None = None) -> int:
    """Train to the end, or go on to it."""
    if board is not None:
        watch(Board(Path(board)))
    tiny.run(Path(path), tiny.config(**SETTINGS[settings]))
    return 0


def run_and_die(path: str, settings: str, save: int, call: int, report: str) -> int:
    """Die (SIGKILL) at the ``call``-th disk operation of the ``save``-th save.

    With ``call`` 0 only count, and write the count to ``report``.
    """
    saves = calls = 0
    counting = False

    def operation() -> None:
        nonlocal calls
        if counting:
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        ):
            operation()

    def counted(call: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            operation()
            return call(*arguments)

        return wrapped

    def hook(where: str, values: dict[str, Any]) -> None:
        nonlocal saves, counting
        if where == "save.begin":
            saves += 1
            counting = saves == save
        elif where == "save.end" and counting:
            counting = False
            Path(report).write_text(str(calls))
            if call == 0:
                os._exit(0)

    faults.hook = hook
    os.fsync, os.write = counted(os.fsync), counted(os.write)
    sys.addaudithook(audit)
    tiny.run(Path(path), tiny.config(**SETTINGS[settings]))
    return 0


def run_until_saved(path: str, settings: str, step: int) -> int:
    """Train and vanish right after the save of a step."""

    def hook(where: str, values: dict[str, Any]) -> None:
        if where == "save.end" and values["step"] == step:
            os._exit(0)

    faults.hook = hook
    tiny.run(Path(path), tiny.config(**SETTINGS[settings]))
    return 1


def run_stopped_before_save(path: str, settings: str, save: int) -> int:
    """Wait (SIGSTOP) at the begin of a save, for strace to attach."""
    saves = 0

    def hook(where: str, values: dict[str, Any]) -> None:
        nonlocal saves
        saves += where == "save.begin"
        if where == "save.begin" and saves == save:
            os.kill(os.getpid(), signal.SIGSTOP)
        if where == "save.end" and saves == save:
            os._exit(7)

    faults.hook = hook
    tiny.run(Path(path), tiny.config(**SETTINGS[settings]))
    return 0


def run_with_little_patience(path: str, settings: str) -> int:
    """Train with a full disk tried again at once."""
    saving.RETRY_SECONDS = 0.05
    saving.POLL_SECONDS = 0.01
    tiny.run(Path(path), tiny.config(**SETTINGS[settings]))
    return 0


def work(path: str, home: str, arguments: list[str] | None = None) -> int:
    """The real worker, as its own session leader's child would be started."""
    os.environ["TUNERY_HOME"] = home
    os.setsid()
    descriptor = os.open(Path(path) / "worker.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    return worker.main([path, *(arguments or [])])


def work_and_fail(path: str, home: str, kind: str) -> int:
    """The worker, with an error that is not one of ours in its second step."""

    class Odd(Exception):
        """One that cannot be pickled and has no message."""

        def __reduce__(self) -> Any:
            raise TypeError("cannot pickle this")

    errors: dict[str, BaseException] = {
        "runtime": RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        "odd": Odd(),
        "import": ModuleNotFoundError("No module named 'foo'"),
        "system": PermissionError(13, "Permission denied", "/etc/x"),
        "memory": MemoryError(),
        "exit": SystemExit(3),
    }

    def hook(where: str, values: dict[str, Any]) -> None:
        if where == "after_step" and values["step"] == 2:
            raise errors[kind]

    faults.hook = hook
    return work(path, home)


def work_and_wait(path: str, home: str, where: str) -> int:
    """The worker, waiting (SIGSTOP) at a phase's begin until the test lets it go on."""
    phase = context.RunContext.phase

    def slow(self: Any, name: str) -> Any:
        if name == where:
            os.kill(os.getpid(), signal.SIGSTOP)
        return phase(self, name)

    context.RunContext.phase = slow  # type: ignore[method-assign]
    return work(path, home)


def work_at_once(path: str, home: str) -> int:
    """The worker, not waiting long for a lock."""
    worker.LOCK_SECONDS = 0.2
    return work(path, home)
