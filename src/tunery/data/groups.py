"""The tokens of an example: a row is one sequence, a group is all rows of one example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # names of columns and facts are read where nothing heavy may be
    import numpy as np

WEIGHT = "weight"
"""Column of a row and fact of its group: the factor on its loss; 1 if it has none."""
REPLAY = "replay"
"""Fact of a group whose answer the model wrote itself before training: 1."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One sequence of tokens.

    Args:
        input_ids: Token IDs. Shape ``[T]``, int32.
        loss_mask: True where the token is trained. Shape ``[T]``, bool.
        streams: Further values per token that a loss reads, by name, such as ``ref_logprob``;
            value t belongs to token t. Shape ``[T]`` or ``[T, X]``, fp32 or int32.
    """

    input_ids: np.ndarray
    loss_mask: np.ndarray
    streams: Mapping[str, np.ndarray] = field(default_factory=dict[str, Any])

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def num_trained(self) -> int:
        """Number of trained tokens, without the first one, which is never predicted."""
        return int(self.loss_mask[1:].sum())

    def with_stream(self, name: str, values: np.ndarray) -> TokenRow:
        """The same row with one more stream, as in ``streams``."""
        return TokenRow(self.input_ids, self.loss_mask, {**self.streams, name: values})


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The rows of one example; a group is never divided between micro batches or ranks.

    Args:
        rows: The rows, in the order that its kind defines (for a pair: chosen, rejected).
        facts: Values of the whole example, such as ``label`` or ``margin``.
    """

    rows: tuple[TokenRow, ...]
    facts: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def num_tokens(self) -> int:
        """Number of tokens of all rows."""
        return sum(len(row) for row in self.rows)

    @property
    def num_trained(self) -> int:
        """Number of trained tokens of all rows."""
        return sum(row.num_trained for row in self.rows)
