"""The training rows as the loop sees them: numbered, with lengths and units, and a known origin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tunery.data.groups import TokenRow


class Rows:
    """Token rows by number.

    Args:
        row: Gives one row.
        lengths: Tokens of each row.
        units: What each row adds to the normaliser of the loss (trained tokens).
        origin: Says where a row came from, for a person who must find it.
    """

    def __init__(
        self,
        row: Callable[[int], TokenRow],
        lengths: np.ndarray,
        units: np.ndarray,
        origin: Callable[[int], dict[str, Any]],
    ) -> None:
        self.row = row
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.units = np.asarray(units, dtype=np.int64)
        self.origin = origin

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def of(cls, rows: Sequence[TokenRow], *, name: str = "rows") -> Rows:
        """Number a list of token rows."""
        return cls(
            rows.__getitem__,
            np.array([len(row) for row in rows], dtype=np.int64),
            np.array([row.num_trained for row in rows], dtype=np.int64),
            lambda i: {"dataset": name, "record": i + 1},
        )

    def and_then(self, other: Rows) -> Rows:
        """These rows, then the other's; numbers of the first stay as they are."""
        count = len(self)
        return Rows(
            lambda i: self.row(i) if i < count else other.row(i - count),
            np.concatenate([self.lengths, other.lengths]),
            np.concatenate([self.units, other.units]),
            lambda i: self.origin(i) if i < count else other.origin(i - count),
        )
