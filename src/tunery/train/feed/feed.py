"""Prefetch batches: collate them in a background thread and move them to the device."""

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
    """The batches of one step.

    Args:
        rows: Group indices of the global batch.
        micro: Group indices of each micro batch of this process, in the order of computation.
        batches: One per micro batch, on the device.
        beside: Batches that the step reads without training on them, on the device.
        units: Counts over the whole global batch, by name; each loss is divided by its own count.
        tokens: Tokens in the global batch.
        trained: Trained tokens in the global batch.
    """

    rows: Sequence[int]
    micro: list[list[int]]
    batches: list[Batch]
    beside: list[Batch]
    units: Mapping[str, int]
    tokens: int
    trained: int


class Feed:
    """Makes the batches of a step and prefetches those of the next.

    Args:
        rows: Training rows.
        order: Selects the rows of each step.
        method: Provides the counts that divide the loss.
        parallel: Selects the rows that this process computes.
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
        """Return the batches of a step and start preparing those of the next.

        Args:
            step: 1 for the first step.
            micro_batch_tokens: Maximum tokens per micro batch.
            last: True disables prefetching of the next step.
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
        """Stop the background thread."""
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
        made = [
            collate_groups([rows.group(i) for i in members], members, trim=rows.trim)
            for members in micro
        ]
        return micro, [batch if device == "cpu" else batch.to(device) for batch in made]
