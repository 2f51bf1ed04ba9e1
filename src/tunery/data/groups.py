"""Tokens of an example: a row is one sequence, a group is all rows of one example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One sequence of tokens.

    Args:
        input_ids: Token ids. Shape ``[T]``, int32.
        loss_mask: True where the token is trained. Shape ``[T]``, bool.
        streams: Further numbers per token, by name, such as ``ref_logprob``: what a loss reads
            beside the token. Shape ``[T]`` each, fp32; the value at a token belongs to it.
    """

    input_ids: np.ndarray
    loss_mask: np.ndarray
    streams: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def num_trained(self) -> int:
        """Trained tokens; the first token is predicted from nothing and never counts."""
        return int(self.loss_mask[1:].sum())

    def with_stream(self, name: str, values: np.ndarray) -> TokenRow:
        """The same row with one more stream. ``values`` has shape ``[T]``, fp32."""
        return TokenRow(self.input_ids, self.loss_mask, {**self.streams, name: values})


@dataclass(frozen=True, slots=True)
class RowGroup:
    """What one example becomes; never divided between micro batches or ranks.

    Args:
        rows: Its rows, in the order of its kind (a pair: chosen, rejected).
        facts: Numbers of the whole example, such as ``label`` or ``margin``.
    """

    rows: tuple[TokenRow, ...]
    facts: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def num_tokens(self) -> int:
        """Tokens of all its rows."""
        return sum(len(row) for row in self.rows)

    @property
    def num_trained(self) -> int:
        """Trained tokens of all its rows."""
        return sum(row.num_trained for row in self.rows)
