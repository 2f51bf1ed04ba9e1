"""Keys and values of one sequence: a buffer that grows, and those kept for the next turn of a chat.

A sequence owns its buffer, so what stands in it never depends on who shares a batch. Shapes: L
layers, K key-value heads, T tokens, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

BLOCK = 64
"""Prompts are read in blocks that begin at multiples of this. A block's values depend on the tokens
up to its end alone, so a prefix taken over from an earlier prompt is bit for bit what reading it
again would give."""
FIRST_CAPACITY = 256


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What a token takes in the cache."""

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
    """The cache of one sequence.

    Args:
        shape: What a token takes.
        length: Tokens whose keys and values are in it.
    """

    def __init__(self, shape: CacheShape, *, capacity: int = FIRST_CAPACITY) -> None:
        self.shape = shape
        self.length = 0
        self.capacity = 0
        self.layers: tuple[Tensor, ...] = ()
        self._grow(capacity)

    def reserve(self, length: int) -> None:
        """Make room for ``length`` tokens; doubles, so that growing costs little in all."""
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
        """Bytes of the buffer."""
        return self._buffer.nbytes

    @property
    def addresses(self) -> tuple[int, int, int]:
        """Address of the buffer, bytes of a layer in it, bytes of a head in that."""
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
    """Prompts read lately, so that the next turn of a chat reads only what is new.

    Args:
        max_bytes: Memory that may be kept.
    """

    max_bytes: int
    _kept: list[_Kept] = field(default_factory=list)

    def keep(self, ids: Sequence[int], adapter: str | None, row: KvRow) -> None:
        """Hand over the row of a finished sequence with its prompt; it is the store's now."""
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
        """A row that begins like ``ids``, cut to the whole blocks both share; None without one.

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
        self._kept.append(best)  # the latest used stays longest
        return best.row.copy(longest)

    def clear(self) -> None:
        """Give all memory back."""
        self._kept.clear()


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    count = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        count += 1
    return count
