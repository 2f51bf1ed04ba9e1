"""Chooses how a process's OpenMP threads wait for each other; must run before torch is loaded.

GNU's OpenMP reads two variables when it is loaded. Threads that sleep until the next operation make
a training step on free cores up to 1.7 times as long; threads that spin take the core away from the
thread they wait for if other programs are computing too. Figures: docs/log.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import psutil

from tunery import env

SLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}
"""For a machine with other load."""
SPIN_SHORTLY = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "3000"}
"""About 30 µs, then sleep: for long-lived processes beside others. Without ACTIVE the count is cut
to 1 µs as soon as two threads of a process have computed (one loads, one generates)."""
SPIN = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "30000"}
"""About 0.3 ms: for a process that has its cores to itself."""
FREE_SHARE = 0.75
LOOKS_SECONDS = (0.08, 0.4)
"""A second, longer check if the first finds load: it may be a program that is just ending."""


def settle(waiting: Mapping[str, str]) -> None:
    """Set how threads wait, unless the environment already does; call it before loading torch."""
    if not _is_settled():
        os.environ.update(waiting)


def settle_by_load() -> None:
    """Let this process spin if the machine is otherwise idle, and sleep if others compute."""
    if not _is_settled():
        settle(SPIN if any(map(leaves_cores_free, LOOKS_SECONDS)) else SLEEP)


def leaves_cores_free(seconds: float) -> bool:
    """Measure for this long whether most of the cores this process may use are idle."""
    before = _now()
    time.sleep(seconds)
    clock, idle, mine = (after - first for after, first in zip(_now(), before, strict=True))
    return idle + mine >= FREE_SHARE * env.cores() * clock


def _is_settled() -> bool:
    return any(name in os.environ for name in SPIN)


def _now() -> tuple[float, float, float]:
    """The clock, the idle time of all cores, and the CPU time of this process, in seconds."""
    return time.monotonic(), psutil.cpu_times().idle, time.process_time()
