"""The rows of each step, as a pure function of (seed, epoch, step).

There is no iterator state, so a resumed run, a run with other micro batches and a run on more
devices see the same rows in the same step, and the rows of any step are found directly.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Order:
    """The order of the training rows.

    Args:
        num_rows: Rows per epoch.
        batch_size: Rows per step; the last step of an epoch may have fewer.
        seed: Seed of the shuffle; each epoch is shuffled independently.
    """

    num_rows: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in which every row is seen once."""
        return math.ceil(self.num_rows / self.batch_size)

    @staticmethod
    def times_left(step: int, num_steps: int, every: int) -> int:
        """How often something at every ``every``-th step and at the last one is still due.

        Args:
            step: The newest step, at which it is still due.
            num_steps: Steps of the whole run.
            every: The interval, in steps.
        """
        return (num_steps - 1) // every - (step - 1) // every + 1

    def num_steps(self, num_epochs: float, max_steps: int | None) -> int:
        """Steps of the whole run: ``max_steps`` if given, otherwise those of ``num_epochs``.

        A fraction of an epoch is rounded up to whole steps; the result is at least 1.
        """
        if max_steps is not None:
            return max_steps
        # 1e-9: 0.1 * 30 is slightly more than 3 and must not add a step.
        return max(1, math.ceil(num_epochs * self.steps_per_epoch - 1e-9))

    def epoch(self, step: int) -> float:
        """Epochs completed after ``step`` steps."""
        return step / self.steps_per_epoch

    def rows(self, step: int) -> np.ndarray:
        """Row indices of one step.

        Args:
            step: 1 for the first step.

        Returns:
            Row indices, int64: ``batch_size`` of them, or fewer at the end of an epoch.
        """
        epoch, position = divmod(step - 1, self.steps_per_epoch)
        start = position * self.batch_size
        return _permutation(self.num_rows, self.seed, epoch)[start : start + self.batch_size]


@functools.lru_cache(maxsize=2)
def _permutation(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.default_rng([seed, epoch, 0x0DE7]).permutation(num_rows)
    order.setflags(write=False)
    return order
