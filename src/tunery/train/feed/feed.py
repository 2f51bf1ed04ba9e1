"""Batches ready before the step asks: collated in a background thread, moved to the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tunery.data.collate import Batch, collate_groups
from tunery.data.rows import Rows
from tunery.methods.base import Method
from tunery.parallel.base import Parallel
from tunery.train.feed.order import Order


@dataclass(frozen=True)
class StepBatches:
    """All of one step.

    Args:
        rows: Numbers of the groups of the global batch.
        micro: Numbers of each micro batch of this process, in the order of computation.
        batches: One per micro batch, on the device.
        beside: What the step looks at without learning from it, on the device.
        units: Counts of the whole global batch, by name; each loss is divided by its own.
        tokens: Tokens of the global batch.
        trained: Trained tokens of the global batch.
    """

    rows: Sequence[int]
    micro: list[list[int]]
    batches: list[Batch]
    beside: list[Batch]
    units: Mapping[str, int]
    tokens: int
    trained: int


class Feed:
    """Makes the batches of a step, and meanwhile those of the next.

    Args:
        rows: Training rows.
        order: Which of them a step sees.
        method: What they count.
        parallel: Which of them this process computes.
        packing: Whether groups share a micro batch.
    """

    def __init__(
        self, rows: Rows, order: Order, method: Method, parallel: Parallel, *, packing: bool
    ) -> None:
        self._rows, self._order, self._method = rows, order, method
        self._parallel, self._packing = parallel, packing
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: tuple[tuple[int, int], Future[StepBatches]] | None = None

    def step(self, step: int, micro_batch_tokens: int, *, last: bool = False) -> StepBatches:
        """Give the batches of a step and begin with the next one's.

        Args:
            step: 1 for the first step.
            micro_batch_tokens: Most tokens in a micro batch.
            last: True makes nothing ahead.
        """
        wanted = (step, micro_batch_tokens)
        if self._ahead is not None and self._ahead[0] == wanted:
            made = self._ahead[1].result()
        else:
            made = self._make(*wanted)
        self._ahead = None
        if not last:
            following = (step + 1, micro_batch_tokens)
            self._ahead = following, self._thread.submit(self._make, *following)
        return made

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _make(self, step: int, micro_batch_tokens: int) -> StepBatches:
        rows = self._rows
        numbers = [int(row) for row in self._order.rows(step)]
        micro, batches = self._batches(rows, numbers, micro_batch_tokens)
        beside: list[Batch] = []
        if rows.beside is not None:
            _, beside = self._batches(rows.beside, numbers, micro_batch_tokens)
        units: dict[str, int] = {}
        for number in numbers:
            for name, count in self._method.units(rows.group(number)).items():
                units[name] = units.get(name, 0) + count
        return StepBatches(
            rows=numbers,
            micro=micro,
            batches=batches,
            beside=beside,
            units=units,
            tokens=int(rows.lengths[numbers].sum()),
            trained=int(rows.trained[numbers].sum()),
        )

    def _batches(
        self, rows: Rows, numbers: Sequence[int], capacity: int
    ) -> tuple[list[list[int]], list[Batch]]:
        micro = self._parallel.share(numbers, rows.lengths, capacity, packing=self._packing)
        device = self._parallel.world.device
        made = [collate_groups([rows.group(i) for i in members], members) for members in micro]
        return micro, [batch if device == "cpu" else batch.to(device) for batch in made]
