"""Which rows a step sees: a pure function of (seed, epoch, step).

Nothing is consumed and nothing is remembered, so a resumed run, a run with other micro batches and
a run on more devices see the same rows in the same step, and step one million is found at once.
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
        num_rows: Rows of one epoch.
        batch_size: Rows of one step; the last step of an epoch may have fewer.
        seed: Seed of the shuffle; each epoch is shuffled on its own.
    """

    num_rows: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every row is seen once."""
        return math.ceil(self.num_rows / self.batch_size)

    def num_steps(self, num_epochs: float, max_steps: int | None) -> int:
        """Steps of the whole run: ``max_steps``, whatever the epochs; without it, so many epochs.

        A part of an epoch is rounded up to whole steps, at least one.
        """
        if max_steps is not None:
            return max_steps
        # 1e-9: 0.1 * 30 is a little more than 3, and must not cost a step.
        return max(1, math.ceil(num_epochs * self.steps_per_epoch - 1e-9))

    def epoch(self, step: int) -> float:
        """Epochs done after ``step`` steps."""
        return step / self.steps_per_epoch

    def rows(self, step: int) -> np.ndarray:
        """Row numbers of one step.

        Args:
            step: 1 for the first step.

        Returns:
            Int64 row numbers, ``batch_size`` of them or, at the end of an epoch, fewer.
        """
        epoch, position = divmod(step - 1, self.steps_per_epoch)
        start = position * self.batch_size
        return _permutation(self.num_rows, self.seed, epoch)[start : start + self.batch_size]


@functools.lru_cache(maxsize=2)
def _permutation(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.default_rng([seed, epoch, 0x0DE7]).permutation(num_rows)
    order.setflags(write=False)
    return order
