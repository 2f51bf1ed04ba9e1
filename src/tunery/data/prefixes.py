"""Common prefixes of the rows in a batch, as a tree of segments.

Rows with the same chat template and system prompt start with the same tokens. A causal model
computes the same hidden states for them, so they are computed once per batch: every row is the path
from a root of the tree to one of its segments. Loss and gradient do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

# One more segment costs each layer about as much as computing 10 tokens of a small model (one more
# attention bucket), so it must save clearly more than that.
MIN_SAVED = 16


@dataclass(slots=True)
class Tree:
    """Segments of a batch, parents before children.

    Args:
        tokens: Token IDs of each segment.
        parents: For each segment, the segment before it in its rows, or -1.
        tails: For each row, its last segment.
        starts: Position in the batch at which each segment starts.
        num_tokens: Number of tokens of all segments.
    """

    tokens: list[np.ndarray] = field(default_factory=list[np.ndarray])
    parents: list[int] = field(default_factory=list[int])
    tails: list[int] = field(default_factory=list[int])
    starts: list[int] = field(default_factory=list[int])
    num_tokens: int = 0

    def add(self, tokens: np.ndarray, parent: int) -> int:
        """Append a segment and return its index."""
        self.tokens.append(tokens)
        self.parents.append(parent)
        self.starts.append(self.num_tokens)
        self.num_tokens += len(tokens)
        return len(self.tokens) - 1

    def path(self, row: int) -> list[int]:
        """Indices of the segments of a row, in order."""
        path: list[int] = []
        segment = self.tails[row]
        while segment >= 0:
            path.append(segment)
            segment = self.parents[segment]
        return path[::-1]

    def places(self, row: int) -> np.ndarray:
        """Position of each token of a row in the batch. Shape ``[T]``, int64."""
        runs = [
            np.arange(self.starts[s], self.starts[s] + len(self.tokens[s])) for s in self.path(row)
        ]
        return runs[0] if len(runs) == 1 else np.concatenate(runs)


def alone(rows: Sequence[np.ndarray]) -> Tree:
    """Each row as its own segment."""
    tree = Tree()
    tree.tails = [tree.add(ids, -1) for ids in rows]
    return tree


def share(rows: Sequence[np.ndarray], *, min_saved: int = MIN_SAVED) -> Tree:
    """Move common prefixes of rows into shared segments if that saves enough tokens.

    Args:
        rows: Token IDs of each row, at least one each.
        min_saved: Minimum number of tokens that a shared segment must save.
    """
    order = sorted(range(len(rows)), key=lambda row: rows[row].astype(">i4").tobytes())
    ordered = [rows[row] for row in order]
    # common[i]: length of the common prefix of rows i - 1 and i, in sorted order.
    common = [0] + [_common(a, b) for a, b in pairwise(ordered)]
    tree = Tree(tails=[-1] * len(rows))
    waiting = [(0, len(rows), 0, -1)]  # (first row, last row + 1, tokens already placed, parent)
    while waiting:
        first, last, done, parent = waiting.pop()
        if last - first == 1:
            rest = ordered[first][done:]
            tree.tails[order[first]] = tree.add(rest, parent) if len(rest) else parent
            continue
        shared = min(common[first + 1 : last])
        cuts = [first, *(i for i in range(first + 1, last) if common[i] == shared), last]
        if (shared - done) * (last - first - 1) >= min_saved:
            parent, done = tree.add(ordered[first][done:shared], parent), shared
        parts = [(begin, end, done, parent) for begin, end in pairwise(cuts)]
        waiting += reversed(parts)
    return tree


def _common(a: np.ndarray, b: np.ndarray) -> int:
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if different.size else length
