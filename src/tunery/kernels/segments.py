"""Where the rows of a packed batch lie, and how to compute them in few equal-length groups.

Shapes: N tokens, S segments of one bucket, T the bucket's longest segment, P = S * T places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Cost model of one attention layer on a CPU, in units of one score entry: each token costs about
# 64 more (its share of the copies), each bucket about 60,000 (ten small kernels).
TOKEN_COST = 64
BUCKET_COST = 60_000


@dataclass(slots=True)
class Bucket:
    """Segments of similar length, computed as one padded batch.

    Args:
        places: For each of the P places the token it holds; a place beyond its segment's end
            holds the segment's last token again and is never read back. Shape ``[P]``, int64.
        used: Which places hold a token of their own, in token order. int64.
        tokens: The tokens of those places. int64.
        starts_at: First token if the bucket is one unpadded run of tokens, else None.
        size: S.
        longest: T.
    """

    places: Tensor
    used: Tensor
    tokens: Tensor
    starts_at: int | None
    size: int
    longest: int
    _allowed: dict[tuple[int | None, str], Tensor] = field(default_factory=dict)

    def gather(self, tensor_NHD: Tensor) -> Tensor:
        """Rows of this bucket, ``[S, H, T, D]``; a view where the bucket is unpadded."""
        if self.starts_at is not None:
            end = self.starts_at + self.size * self.longest
            picked = tensor_NHD[self.starts_at : end]
        else:
            picked = tensor_NHD.index_select(0, self.places)
        return picked.unflatten(0, (self.size, self.longest)).transpose(1, 2)

    def flatten(self, out_SHTD: Tensor) -> Tensor:
        """Outputs of the bucket's own tokens, in the order of ``tokens``."""
        out_PHD = out_SHTD.transpose(1, 2).flatten(0, 1)
        return out_PHD if self.starts_at is not None else out_PHD.index_select(0, self.used)

    def allowed(self, window: int | None, device: torch.device) -> Tensor:
        """Causal (and sliding) mask ``[T, T]``: True where a query sees a key."""
        key = (window, str(device))
        if key not in self._allowed:
            mask = torch.ones(self.longest, self.longest, dtype=torch.bool, device=device).tril()
            self._allowed[key] = mask.triu(1 - window) if window else mask
        return self._allowed[key]


class Segments:
    """The rows of one packed batch.

    Args:
        lengths: Tokens of each row, in the order they lie in the batch.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = tuple(int(length) for length in lengths)
        self.longest = max(self.lengths)
        self.num_tokens = sum(self.lengths)
        self._starts: dict[str, Tensor] = {}
        self._buckets: dict[str, list[Bucket]] = {}
        self._order: dict[str, Tensor | None] = {}

    def starts(self, device: torch.device) -> Tensor:
        """Where each row begins, and N: ``[num_rows + 1]``, int32."""
        key = str(device)
        if key not in self._starts:
            ends = torch.tensor(self.lengths, dtype=torch.int64).cumsum(0)
            starts = torch.cat([ends.new_zeros(1), ends])
            self._starts[key] = starts.to(device=device, dtype=torch.int32)
        return self._starts[key]

    def buckets(self, device: torch.device) -> list[Bucket]:
        """Groups of similar length that cost least together; kept for all layers."""
        key = str(device)
        if key not in self._buckets:
            self._buckets[key] = [self._bucket(rows, device) for rows in _group(self.lengths)]
        return self._buckets[key]

    def restore(self, outs: Sequence[Tensor]) -> Tensor:
        """Put the buckets' outputs back into token order."""
        if len(outs) == 1 and self._in_order(outs[0].device) is None:
            return outs[0]
        joined = torch.cat(list(outs)) if len(outs) > 1 else outs[0]
        order = self._in_order(joined.device)
        return joined if order is None else joined.index_select(0, order)

    def _in_order(self, device: torch.device) -> Tensor | None:
        key = str(device)
        if key not in self._order:
            tokens = torch.cat([bucket.tokens for bucket in self.buckets(device)])
            inverse = torch.argsort(tokens)
            same = bool((inverse == torch.arange(len(inverse), device=device)).all())
            self._order[key] = None if same else inverse
        return self._order[key]

    def _bucket(self, rows: list[int], device: torch.device) -> Bucket:
        starts = torch.tensor([0, *self.lengths]).cumsum(0)[rows]
        lengths = torch.tensor(self.lengths)[rows]
        longest = int(lengths.max())
        within = torch.arange(longest)
        valid = within[None] < lengths[:, None]
        places = starts[:, None] + torch.minimum(within[None], lengths[:, None] - 1)
        unpadded = bool(valid.all())
        run = unpadded and rows == list(range(rows[0], rows[0] + len(rows)))
        return Bucket(
            places=places.flatten().to(device),
            used=valid.flatten().nonzero()[:, 0].to(device),
            tokens=places[valid].to(device),
            starts_at=int(starts[0]) if run else None,
            size=len(rows),
            longest=longest,
        )


def _group(lengths: Sequence[int]) -> list[list[int]]:
    """Split rows, sorted by length, where it costs least (exact, by dynamic programming)."""
    distinct = sorted(set(lengths), reverse=True)
    counts = [sum(1 for length in lengths if length == value) for value in distinct]
    best: list[tuple[float, int]] = [(0.0, 0)]  # cost of the first i lengths, where the last began
    for end in range(1, len(distinct) + 1):
        rows, options = 0, []
        for begin in range(end - 1, -1, -1):
            rows += counts[begin]
            longest = distinct[begin]
            cost = BUCKET_COST + rows * longest * (longest + TOKEN_COST)
            options.append((best[begin][0] + cost, begin))
        best.append(min(options))
    cuts, end = [], len(distinct)
    while end:
        begin = best[end][1]
        cuts.append((distinct[end - 1], distinct[begin]))
        end = begin
    return [
        [row for row, length in enumerate(lengths) if low <= length <= high] for low, high in cuts
    ]
