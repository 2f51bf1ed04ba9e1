"""How long the rest of a run takes, from the steps that it has done.

A step that is far out of the ordinary (the first one warms up, another waits for a disk or compiles
for a new shape) must not move the estimate, and a short last batch of an epoch counts as the one of
many that it is. So every step counts alike, the slowest are left out, and the rest is a mean.
"""

from __future__ import annotations

from bisect import insort
from collections import deque

MOST_STEPS = 500
"""Steps that are remembered, newest ones; a run whose rows get longer is followed."""

LEFT_OUT = 0.05
"""Share of the slowest steps that do not count; from three steps on at least one."""

TIMES_MEDIAN = 4.0
"""What counts at most for one step, as a multiple of the median."""


class Pace:
    """The seconds of the steps so far."""

    def __init__(self) -> None:
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Take one more step."""
        self._order.append(seconds)
        insort(self._sorted, seconds)
        if len(self._order) > MOST_STEPS:
            self._sorted.remove(self._order.popleft())

    @property
    def seconds_a_step(self) -> float | None:
        """What a step takes; None before the first one."""
        count = len(self._sorted)
        if not count:
            return None
        kept = self._sorted[: count - max(int(count >= 3), int(count * LEFT_OUT))]
        most = TIMES_MEDIAN * self._sorted[(count - 1) // 2]
        return sum(min(each, most) for each in kept) / len(kept)

    def left(self, steps: int) -> float:
        """Estimated seconds for the remaining steps; 0 if unknown."""
        return steps * (self.seconds_a_step or 0.0)
