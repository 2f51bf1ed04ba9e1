"""Estimate the remaining time of a run from the steps done so far.

Outliers (a first step that warms up, a step that waits for a disk or compiles for a new shape) must
not move the estimate, and the short last batch of an epoch must count only in proportion. So all
steps have equal weight, the slowest are excluded, and the rest are averaged.
"""

from __future__ import annotations

from bisect import insort
from collections import deque

MOST_STEPS = 500
"""Size of the window of newest steps, so that the estimate follows rows that get longer."""

LEFT_OUT = 0.05
"""Share of the slowest steps that is excluded; at least one step once there are three."""

TIMES_MEDIAN = 4.0
"""Upper limit on the time of one step, as a multiple of the median."""


class Pace:
    """The durations of the recent steps, in seconds."""

    def __init__(self) -> None:
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Record the duration of one step."""
        self._order.append(seconds)
        insort(self._sorted, seconds)
        if len(self._order) > MOST_STEPS:
            self._sorted.remove(self._order.popleft())

    @property
    def seconds_a_step(self) -> float | None:
        """Estimated seconds per step; None before the first one."""
        count = len(self._sorted)
        if not count:
            return None
        kept = self._sorted[: count - max(int(count >= 3), int(count * LEFT_OUT))]
        most = TIMES_MEDIAN * self._sorted[(count - 1) // 2]
        return sum(min(each, most) for each in kept) / len(kept)

    def left(self, steps: int) -> float:
        """Estimated seconds for the remaining steps; 0 if unknown."""
        return steps * (self.seconds_a_step or 0.0)
