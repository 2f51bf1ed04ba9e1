"""Waiting for what another process or thread does: by looking at it, never by the clock.

The limit bounds a test that hangs and nothing else: a machine that is ten times slower than usual
must fail none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 200.0


def until(condition: Callable[[], T | None], *, every: float = 0.01) -> T:
    """Look until something true comes back, and return it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(every)
    return found


def until_halted(pid: int) -> None:
    """Wait until a process has stopped itself with SIGSTOP."""
    status = Path(f"/proc/{pid}/stat")
    until(lambda: status.read_text().rsplit(")", 1)[1].split()[0] == "T", every=0.002)
