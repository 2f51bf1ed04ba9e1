"""Index of the usable rows of a file: 8 bytes per row, each row read on access."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import compress
from typing import Any

from tunery.data.sources.base import Batch, FileSource, Lines
from tunery.types import RowRef


class FileRows:
    """The usable rows of one file, by index.

    Args:
        source: The open file.
        dataset: Name of the dataset, for references.
    """

    def __init__(self, source: FileSource, dataset: str) -> None:
        self.source = source
        self.dataset = dataset
        self._starts = array("Q")
        self._excluded = array("Q")  # record numbers, ascending
        self._lines = Lines()
        self._has_lines = False

    def __len__(self) -> int:
        return len(self._starts)

    def extend(self, batch: Batch, good: list[bool]) -> None:
        """Add a batch; bad rows are skipped."""
        if batch.lines is not None:
            self._has_lines = True
            self._lines.extend(batch.lines, batch.first)
        if all(good):
            self._starts.extend(batch.starts)
            return
        self._starts.extend(compress(batch.starts, good))
        self._excluded.extend(batch.first + i for i, fine in enumerate(good) if not fine)

    def record(self, i: int) -> int:
        """The 1-based record number in the file of usable row ``i``."""
        low, high = 0, len(self._excluded)
        while low < high:
            middle = (low + high) // 2
            # The left side is the number of usable rows before the excluded row ``middle``.
            if self._excluded[middle] - 1 - middle <= i:
                low = middle + 1
            else:
                high = middle
        return i + 1 + low

    def ref(self, i: int) -> RowRef:
        """Where usable row ``i`` comes from."""
        record = self.record(i)
        line = self._lines.of(record) if self._has_lines else None
        return RowRef(self.dataset, self.source.name, record, line)

    def load(self, i: int) -> Any:
        """Read usable row ``i`` from the file, without conversion."""
        return self.source.load(self._starts[i])


def place(ends: list[int], i: int) -> tuple[int, int]:
    """Locate item ``i`` in pieces that end at ``ends``: (piece, position in the piece)."""
    piece = bisect_right(ends, i)
    return piece, i - (ends[piece - 1] if piece else 0)
