"""Key-value cache of one sequence: a growing buffer, and a store of prefixes for the next turn.

A sequence owns its buffer, so its contents never depend on what else is in the batch. Shapes: L
layers, K key-value heads, T tokens, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

BLOCK = 64
"""Prompts are read in blocks that begin at multiples of this. A block's values depend only on the
tokens up to its end, so a prefix reused from an earlier prompt is bit for bit identical to reading
it again."""
FIRST_CAPACITY = 256


@dataclass(frozen=True, slots=True)
class CacheShape:
    """The shape of the cache, per token."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: str

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one token's keys and values."""
        return self.num_layers * 2 * self.num_kv_heads * self.head_dim * self.dtype.itemsize


class KvRow:
    """The cache of one sequence; it holds the keys and values of ``length`` tokens.

    Args:
        shape: The shape per token.
        capacity: Tokens to reserve memory for.
    """

    def __init__(self, shape: CacheShape, *, capacity: int = FIRST_CAPACITY) -> None:
        self.shape = shape
        self.length = 0
        self.capacity = 0
        self.layers: tuple[Tensor, ...] = ()
        self._grow(capacity)

    def reserve(self, length: int) -> None:
        """Make room for ``length`` tokens; doubles, to keep the amortized cost of growing low."""
        if length > self.capacity:
            self._grow(max(length, 2 * self.capacity))

    def copy(self, length: int) -> KvRow:
        """An independent copy of the row with the first ``length`` tokens."""
        other = KvRow(self.shape, capacity=max(length + BLOCK, FIRST_CAPACITY))
        other._buffer[:, :, :length] = self._buffer[:, :, :length]
        other.length = length
        return other

    @property
    def num_bytes(self) -> int:
        """Size of the buffer, in bytes."""
        return self._buffer.nbytes

    @property
    def addresses(self) -> tuple[int, int, int]:
        """Address of the buffer, bytes per layer, and bytes per head."""
        head = self.capacity * self.shape.head_dim * self.shape.dtype.itemsize
        return self._buffer.data_ptr(), 2 * self.shape.num_kv_heads * head, head

    def _grow(self, capacity: int) -> None:
        shape = self.shape
        capacity = -(-capacity // BLOCK) * BLOCK
        size = (shape.num_layers, 2 * shape.num_kv_heads, capacity, shape.head_dim)
        buffer = torch.empty(size, dtype=shape.dtype, device=shape.device)
        if self.length:
            buffer[:, :, : self.length] = self._buffer[:, :, : self.length]
        self._buffer, self.capacity = buffer, capacity
        self.layers = buffer.unbind(0)


@dataclass(slots=True)
class _Kept:
    ids: list[int]
    adapter: str | None
    row: KvRow


@dataclass
class PrefixStore:
    """Recently read prompts, so that the next turn of a chat reads only what is new.

    Args:
        max_bytes: Maximum memory for kept rows.
    """

    max_bytes: int
    _kept: list[_Kept] = field(default_factory=list)

    def keep(self, ids: Sequence[int], adapter: str | None, row: KvRow) -> None:
        """Hand over the row of a finished sequence with its prompt; the store then owns the row."""
        whole = len(ids) // BLOCK * BLOCK
        if whole == 0 or row.num_bytes > self.max_bytes:
            return
        prefix = list(ids[:whole])
        self._kept = [
            kept
            for kept in self._kept
            if kept.adapter != adapter or kept.ids != prefix[: len(kept.ids)]
        ]
        self._kept.append(_Kept(prefix, adapter, row))
        while sum(kept.row.num_bytes for kept in self._kept) > self.max_bytes:
            del self._kept[0]

    def take(self, ids: Sequence[int], adapter: str | None) -> KvRow | None:
        """A copy of the longest row that shares a prefix of whole blocks with ``ids``, or None.

        At least the last token of ``ids`` is left to be read.
        """
        best, longest = None, 0
        for kept in self._kept:
            if kept.adapter == adapter:
                shared = min(_shared(kept.ids, ids), len(ids) - 1) // BLOCK * BLOCK
                if shared > longest:
                    best, longest = kept, shared
        if best is None:
            return None
        self._kept.remove(best)
        self._kept.append(best)  # evicted last: the most recently used
        return best.row.copy(longest)

    def clear(self) -> None:
        """Free all memory."""
        self._kept.clear()


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    count = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        count += 1
    return count
