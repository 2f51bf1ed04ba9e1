"""How the threads of a process wait for each other; chosen before torch is loaded.

GNU's OpenMP reads two variables when it is loaded. A thread that sleeps until the next operation
makes a training step on free cores up to 1.7 times as long; one that spins takes the core away from
the thread it waits for where other programs compute too. Figures: docs/log.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import psutil

SLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}
"""For a machine that others use."""
SPIN_SHORTLY = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "3000"}
"""About 30 µs, then sleep: for what lives long beside others. Without ACTIVE the count is cut to 1
µs as soon as two threads of a process have computed (one loads, one generates)."""
SPIN = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "30000"}
"""About 0.3 ms: for a process that has its cores to itself."""
FREE_SHARE = 0.75
SAMPLE_SECONDS = 0.08


def settle(waiting: Mapping[str, str]) -> None:
    """Have this process wait so, unless its environment says how; call it before torch is there."""
    if not any(name in os.environ for name in SPIN):
        os.environ.update(waiting)


class Neighbours:
    """What other programs leave of the processor, from now on."""

    def __init__(self) -> None:
        self._clock, self._idle, self._mine = self._now()

    def settle(self) -> None:
        """Have this process spin where the machine is its own, and sleep where it is not."""
        if not any(name in os.environ for name in SPIN):
            settle(SPIN if self.leave_it_free() else SLEEP)

    def leave_it_free(self) -> bool:
        """Whether most of the cores this process may use were idle, or used by itself."""
        time.sleep(max(self._clock + SAMPLE_SECONDS - time.monotonic(), 0))
        clock, idle, mine = self._now()
        free = (idle - self._idle + mine - self._mine) / (clock - self._clock)
        return free >= FREE_SHARE * _cores()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        return time.monotonic(), psutil.cpu_times().idle, time.process_time()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
