"""Batches ready before the step asks: collated in a background thread, moved to the device."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tunery.data.rows import Rows
from tunery.methods.base import Method
from tunery.train.feed.order import Order, micro_batches


@dataclass(frozen=True)
class StepBatches:
    """All of one step.

    Args:
        rows: Row numbers of the global batch.
        micro: Row numbers of each micro batch, in the order of computation.
        batches: What the method computes, one a micro batch, on the device.
        units: Units (trained tokens) of the whole global batch; the loss is divided by it.
        tokens: Tokens of the rows.
    """

    rows: Sequence[int]
    micro: list[list[int]]
    batches: list[Any]
    units: int
    tokens: int


class Feed:
    """Makes the batches of a step, and meanwhile those of the next.

    Args:
        rows: Training rows.
        order: Which rows a step sees.
        method: How rows become a batch.
        packing: Whether rows share a micro batch.
        device: Where batches are computed.
    """

    def __init__(
        self, rows: Rows, order: Order, method: Method, *, packing: bool, device: str
    ) -> None:
        self._rows, self._order, self._method = rows, order, method
        self._packing, self._device = packing, device
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
        numbers = [int(row) for row in self._order.rows(step)]
        micro = micro_batches(
            numbers, self._rows.lengths, micro_batch_tokens, packing=self._packing
        )
        batches = []
        for members in micro:
            batch = self._method.batch([self._rows.group(i) for i in members], members)
            batches.append(batch.to(self._device) if self._device != "cpu" else batch)
        return StepBatches(
            rows=numbers,
            micro=micro,
            batches=batches,
            units=int(self._rows.units[numbers].sum()),
            tokens=int(self._rows.lengths[numbers].sum()),
        )
