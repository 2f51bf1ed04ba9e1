"""The layout of the rows in a packed batch, and how to compute their attention in few groups.

A batch is a sequence of segments. A segment may have a parent: an earlier segment that precedes it
in its row and that it shares with other rows (a common system prompt). A token attends to its own
segment up to itself and to all of its ancestors, so each row sees exactly what it would see alone.

Shapes: N tokens, S segments of a bucket, T the bucket's longest segment, C tokens of the common
ancestors, U = C + T keys, H query heads, G key heads, M = H / G.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

# Cost model of one attention layer on a CPU, in units of one score entry: each token costs about
# 64 more (its share of the copies), each bucket about 60,000 (a dozen small kernels).
TOKEN_COST = 64
BUCKET_COST = 60_000

# Scores per bucket and head: if more segments are given than fit, they are split into several
# buckets, so that the scores stay in a CPU's cache.
BUCKET_SCORES = 2**18


@dataclass(frozen=True, slots=True)
class Block:
    """Queries of a bucket computed together, and the keys they attend to.

    Args:
        queries: Slice of T.
        keys: Slice of U.
        mask: 0 where a query attends to a key, otherwise minus infinity.
    """

    queries: slice
    keys: slice
    mask: Tensor


@dataclass(slots=True)
class Bucket:
    """Segments with the same ancestors and similar lengths, computed as one padded batch.

    A position beyond its segment's end repeats the segment's last token; it comes after every
    real query, so the causal mask hides it, and it is never read back.

    Args:
        queries: The token at each of the S * T positions, ``[S, T]``, int64.
        context: Tokens of the common ancestors in order, ``[C]``, int64.
        size: S.
        longest: T.
    """

    queries: Tensor
    context: Tensor
    size: int
    longest: int
    _blocks: dict[tuple[int, int | None, torch.dtype], list[Block]] = field(default_factory=dict)

    @property
    def num_keys(self) -> int:
        """U: the number of keys that the last query attends to."""
        return len(self.context) + self.longest

    def query_rows(self, heads: int, key_heads: int) -> Tensor:
        """Rows of ``[N * H, D]`` in the order (S, G, M, T); int64."""
        head = torch.arange(heads, device=self.queries.device).view(key_heads, -1, 1)
        return (self.queries[:, None, None] * heads + head).flatten()

    def key_rows(self, key_heads: int) -> Tensor:
        """Rows of ``[N * G, D]`` in the order (S, G, U); int64."""
        places = torch.cat([self.context.expand(self.size, -1), self.queries], 1)
        head = torch.arange(key_heads, device=places.device)[:, None]
        return (places[:, None] * key_heads + head).flatten()

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """0 where a query attends to a key, otherwise minus infinity. Shape ``[T, U]``."""
        device = self.queries.device
        query = torch.arange(self.longest, device=device)[:, None] + len(self.context)
        key = torch.arange(self.num_keys, device=device)
        hidden = key > query
        if window is not None:
            hidden |= key <= query - window
        return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(
            hidden, -torch.inf
        )

    def blocks(self, most: int, window: int | None, dtype: torch.dtype) -> list[Block]:
        """Runs of at most ``most`` queries with the keys that any of them attends to; cached."""
        wanted = (most, window, dtype)
        if wanted not in self._blocks:
            mask, shared = self.mask(window, dtype), len(self.context)
            blocks: list[Block] = []
            for start in range(0, self.longest, most):
                end = min(start + most, self.longest)
                first = max(0, shared + start - window + 1) if window is not None else 0
                queries, keys = slice(start, end), slice(first, shared + end)
                blocks.append(Block(queries, keys, mask[queries, keys]))
            self._blocks[wanted] = blocks
        return self._blocks[wanted]


@dataclass(frozen=True, slots=True)
class Layout:
    """Row indices for given head counts, shared by all layers of a forward and backward pass.

    Args:
        query_rows: One tensor per bucket, rows of ``[N * H, D]``.
        key_rows: One tensor per bucket, rows of ``[N * G, D]``.
        padding: One tensor per bucket, the positions in its query rows that repeat a token; None
            if there are none.
        query_back: For each row of ``[N * H, D]``, its position in the buckets' joined rows.
        key_back: For each row of ``[N * G, D]``, its position in the joined key rows, as a key of
            its own segment.
    """

    query_rows: list[Tensor]
    key_rows: list[Tensor]
    padding: list[Tensor | None]
    query_back: Tensor
    key_back: Tensor


@dataclass(frozen=True, slots=True)
class Varlen:
    """The arguments of variable-length attention kernels.

    Args:
        query_starts: Start of each segment's queries, then their total number. int32.
        key_starts: Start of each segment's keys, then their total number. int32.
        keys: Token indices in the order of the keys; None for all N tokens in order.
    """

    query_starts: Tensor
    key_starts: Tensor
    keys: Tensor | None


class Segments:
    """The segments of one packed batch.

    Args:
        lengths: Number of tokens of each segment, in the order of the batch.
        parents: For each segment an earlier one, or -1; by default, no segment has a parent.
        device: Device on which the row indices are needed.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        parents: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.lengths = tuple(lengths)
        self.parents = tuple(parents) if parents is not None else (-1,) * len(self.lengths)
        self.device = torch.device(device)
        starts = [0]
        for length in self.lengths:
            starts.append(starts[-1] + length)
        self.starts = tuple(starts)
        self._contexts: list[int] = []  # tokens before each segment in its row
        for parent in self.parents:
            self._contexts.append(
                0 if parent < 0 else self._contexts[parent] + self.lengths[parent]
            )
        self.longest = max(
            length + context for length, context in zip(self.lengths, self._contexts, strict=True)
        )
        self.flat = all(parent < 0 for parent in self.parents)
        self._buckets: list[Bucket] | None = None
        self._varlen: Varlen | None = None
        self._layouts: dict[tuple[int, int], Layout] = {}

    def ancestors(self, segment: int) -> list[int]:
        """Segments before this one in its row, the first one first."""
        chain: list[int] = []
        while (segment := self.parents[segment]) >= 0:
            chain.append(segment)
        return chain[::-1]

    def context(self, segment: int) -> Tensor:
        """Tokens of a segment's ancestors, in order; int64."""
        runs = [
            torch.arange(self.starts[s], self.starts[s + 1], device=self.device)
            for s in self.ancestors(segment)
        ]
        return torch.cat(runs) if runs else torch.empty(0, dtype=torch.int64, device=self.device)

    def buckets(self) -> list[Bucket]:
        """Groups with the lowest total cost; cached for all layers."""
        if self._buckets is None:
            families: dict[int, list[int]] = {}
            for segment, parent in enumerate(self.parents):
                families.setdefault(parent, []).append(segment)
            self._buckets = [
                self._bucket(members)
                for family in families.values()
                for members in _group(family, self.lengths, self._contexts[family[0]])
            ]
        return self._buckets

    def layout(self, heads: int, key_heads: int) -> Layout:
        """Row indices for a layer with these head counts; cached for all layers."""
        if (heads, key_heads) not in self._layouts:
            buckets = self.buckets()
            query_rows = [bucket.query_rows(heads, key_heads) for bucket in buckets]
            key_rows = [bucket.key_rows(key_heads) for bucket in buckets]
            own = [
                rows.view(bucket.size, key_heads, -1)[:, :, len(bucket.context) :]
                for bucket, rows in zip(buckets, key_rows, strict=True)
            ]
            padding = [
                _repeats(rows.view(-1, bucket.longest))
                for bucket, rows in zip(buckets, query_rows, strict=True)
            ]
            num_tokens = self.starts[-1]
            query_back = torch.empty(num_tokens * heads, dtype=torch.int64, device=self.device)
            key_back = torch.empty(num_tokens * key_heads, dtype=torch.int64, device=self.device)
            query_start = key_start = 0
            for bucket, queries, keys in zip(buckets, query_rows, own, strict=True):
                _place(query_back, queries.view(bucket.size, -1, bucket.longest), query_start, 0)
                _place(key_back, keys, key_start, len(bucket.context))
                query_start += queries.numel()
                key_start += bucket.size * key_heads * bucket.num_keys
            self._layouts[heads, key_heads] = Layout(
                query_rows, key_rows, padding, query_back, key_back
            )
        return self._layouts[heads, key_heads]

    def varlen(self) -> Varlen:
        """The same rows for variable-length kernels; cached for all layers."""
        if self._varlen is None:
            keys: Tensor | None = None
            key_lengths = self.lengths
            if not self.flat:
                runs = [
                    run
                    for segment, (start, end) in enumerate(pairwise(self.starts))
                    for run in (
                        self.context(segment),
                        torch.arange(start, end, device=self.device),
                    )
                ]
                keys = torch.cat(runs)
                key_lengths = [a + b for a, b in zip(self._contexts, self.lengths, strict=True)]
            self._varlen = Varlen(self._ends(self.lengths), self._ends(key_lengths), keys)
        return self._varlen

    def _ends(self, lengths: Sequence[int]) -> Tensor:
        ends = torch.tensor([0, *lengths], device=self.device).cumsum(0)
        return ends.to(torch.int32)

    def _bucket(self, members: list[int]) -> Bucket:
        longest = max(self.lengths[segment] for segment in members)
        starts = torch.tensor([self.starts[segment] for segment in members], device=self.device)
        lengths = torch.tensor([self.lengths[segment] for segment in members], device=self.device)
        within = torch.arange(longest, device=self.device)
        queries = starts[:, None] + torch.minimum(within, lengths[:, None] - 1)
        return Bucket(queries, self.context(members[0]), len(members), longest)


def _repeats(rows: Tensor) -> Tensor | None:
    """Flat positions whose row repeats the one before it."""
    same = torch.zeros_like(rows, dtype=torch.bool)
    same[:, 1:] = rows[:, 1:] == rows[:, :-1]
    places = same.flatten().nonzero()[:, 0]
    return places if len(places) else None


def _place(back: Tensor, rows: Tensor, start: int, skipped: int) -> None:
    """Record the position of each row of a bucket; a repeated (padding) row keeps its first one."""
    size = skipped + rows.shape[-1]
    outer = torch.arange(rows[..., 0].numel(), device=rows.device)[:, None]
    places = start + outer * size + skipped + torch.arange(rows.shape[-1], device=rows.device)
    rows = rows.reshape(places.shape)
    # From last to first, so that of equal rows the first position is written last.
    back[rows.flip(1).flatten()] = places.flip(1).flatten()


def _group(family: list[int], lengths: Sequence[int], context: int) -> list[list[int]]:
    """Split segments, sorted by length, at minimum cost (exact, with dynamic programming)."""
    by_length: dict[int, list[int]] = {}
    for segment in family:
        by_length.setdefault(lengths[segment], []).append(segment)
    distinct = sorted(by_length, reverse=True)
    best: list[tuple[float, int]] = [(0.0, 0)]  # cost of the first i lengths, last group's start
    for end in range(1, len(distinct) + 1):
        count, options = 0, []
        for begin in range(end - 1, -1, -1):
            count += len(by_length[distinct[begin]])
            longest = distinct[begin]
            cost = BUCKET_COST + count * longest * (context + longest + TOKEN_COST)
            options.append((best[begin][0] + cost, begin))
        best.append(min(options))
    groups: list[list[int]] = []
    end = len(distinct)
    while end:
        begin = best[end][1]
        longest = distinct[begin]
        members = sorted(segment for value in distinct[begin:end] for segment in by_length[value])
        most = max(1, BUCKET_SCORES // (longest * (context + longest)))
        groups += [members[i : i + most] for i in range(0, len(members), most)]
        end = begin
    return groups
