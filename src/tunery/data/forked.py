"""Compute numbered pieces of work in several forked processes, results in order.

Process w of n computes the pieces w, w + n, w + 2n and so on, and writes each result to a pipe of
its own, so nothing has to be handed out and a full pipe is the only queue. A process whose reader
is gone ends at its next write. If one dies (the machine may be out of memory), its remaining
pieces are computed by the caller.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO

log = logging.getLogger(__name__)
_SIZE_BYTES = 8


def can_fork() -> bool:
    """Whether this system can fork a process that uses libraries (macOS cannot, safely)."""
    return sys.platform.startswith("linux")


def ordered(work: Callable[[int], bytes], pieces: int, *, processes: int) -> Iterator[bytes]:
    """Yield ``work(0)`` to ``work(pieces - 1)``, computed by several processes.

    Args:
        work: Computes a piece, not empty; runs in a fork of this process.
        pieces: Number of pieces.
        processes: Number of processes; below 2, the caller computes everything.

    Raises:
        Exception: What ``work`` raises; the piece is then computed once more by the caller.
    """
    number = min(processes, pieces)
    if number < 2 or not can_fork():
        for piece in range(pieces):
            yield work(piece)
        return
    with _started(work, pieces, number) as pipes:
        lost: set[int] = set()
        for piece in range(pieces):
            mine = piece % number
            result = None if mine in lost else _read(pipes[mine])
            if result is None and mine not in lost:
                log.warning("process %d of %d ended early; going on without it", mine, number)
                lost.add(mine)
            yield result or work(piece)


@contextlib.contextmanager
def _started(work: Callable[[int], bytes], pieces: int, number: int) -> Generator[list[BinaryIO]]:
    pids: list[int] = []
    pipes: list[BinaryIO] = []
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for first in range(number):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                for pipe in (*(other.fileno() for other in pipes), reading):
                    os.close(pipe)  # or a sibling would keep them open after the reader's end
                _compute(work, range(first, pieces, number), writing)
            os.close(writing)
            pids.append(pid)
            pipes.append(os.fdopen(reading, "rb"))
        yield pipes
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        for pipe in pipes:
            pipe.close()


def _compute(work: Callable[[int], bytes], pieces: range, writing: int) -> None:
    """Compute and write pieces in the forked process; never returns."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides when to stop
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        with os.fdopen(writing, "wb") as pipe:
            for piece in pieces:
                try:
                    data = work(piece)
                except Exception:  # noqa: BLE001 - the caller computes the piece and raises it
                    data = b""
                pipe.write(len(data).to_bytes(_SIZE_BYTES, "little"))
                pipe.write(data)
                pipe.flush()
    finally:
        os._exit(0)


def _read(pipe: BinaryIO) -> bytes | None:
    """The next result; None if the process ended without one."""
    size = int.from_bytes(head, "little") if len(head := pipe.read(_SIZE_BYTES)) == 8 else -1
    data = pipe.read(size) if size >= 0 else b""
    return data if len(data) == size else None
