"""Estimate the remaining time of a run from the steps and the pauses between them so far.

Outliers (a first step that warms up, a step that waits for a disk or compiles for a new shape) must
not move the estimate, and the short last batch of an epoch must count only in proportion. So all
steps have equal weight, the slowest are excluded, and the rest are averaged.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Mapping

MOST_STEPS = 500
"""Size of the window of newest steps, so that the estimate follows rows that get longer."""

MOST_PAUSES = 8
"""Size of the window of newest pauses of a kind."""

LEFT_OUT = 0.05
"""Share of the slowest steps that is excluded; at least one step once there are three."""

TIMES_MEDIAN = 4.0
"""Upper limit on the time of one step, as a multiple of the median."""


class Pace:
    """The durations of the recent steps, in seconds."""

    def __init__(self) -> None:
        self._order: deque[float] = deque()
        self._sorted: list[float] = []
        self._pauses: dict[str, deque[float]] = {}
        self._first: dict[str, float] = {}

    def add(self, seconds: float) -> None:
        """Record the duration of one step."""
        self._order.append(seconds)
        insort(self._sorted, seconds)
        if len(self._order) > MOST_STEPS:
            self._sorted.remove(self._order.popleft())

    def add_pause(self, kind: str, seconds: float, *, before: bool = False) -> None:
        """Record the duration of work between the steps, such as an evaluation or a save.

        Args:
            kind: Its name.
            seconds: Its duration.
            before: Whether it took place before training, when results may come from a cache; it
                counts only until one during training is known.
        """
        if before:
            self._first[kind] = seconds
        else:
            self._pauses.setdefault(kind, deque(maxlen=MOST_PAUSES)).append(seconds)

    def pauses(self) -> dict[str, float]:
        """Mean seconds of a pause, by kind."""
        kinds = {*self._first, *self._pauses}
        return {kind: round(self._seconds_a_pause(kind), 3) for kind in sorted(kinds)}

    def _seconds_a_pause(self, kind: str) -> float:
        times = self._pauses.get(kind)
        return sum(times) / len(times) if times else self._first.get(kind, 0.0)

    @property
    def seconds_a_step(self) -> float | None:
        """Estimated seconds per step; None before the first one."""
        count = len(self._sorted)
        if not count:
            return None
        kept = self._sorted[: count - max(int(count >= 3), int(count * LEFT_OUT))]
        most = TIMES_MEDIAN * self._sorted[(count - 1) // 2]
        return sum(min(each, most) for each in kept) / len(kept)

    def left(self, steps: int, pauses: Mapping[str, int] | None = None) -> float:
        """Estimated seconds for the rest of the run; what is not known yet counts 0.

        Args:
            steps: Number of remaining steps.
            pauses: Number of remaining pauses, by kind.
        """
        between = sum(n * self._seconds_a_pause(kind) for kind, n in (pauses or {}).items())
        return steps * (self.seconds_a_step or 0.0) + between
