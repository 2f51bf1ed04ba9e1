"""What rows of one batch have in common from their first token on, as a tree of segments.

Rows of one chat template and system prompt begin with the same tokens. A causal model computes
the same for them, so they need be computed once a batch: every row is the path from a root of the
tree to one of its segments. Exact for loss and gradient; it never looks past a row's own tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

# A segment of its own costs each layer about as much as computing 10 tokens of a small model
# (one more bucket of attention); what it saves must be clearly more.
MIN_SAVED = 16


@dataclass(slots=True)
class Tree:
    """Segments of a batch, parents before children.

    Args:
        tokens: Token ids of each segment.
        parents: For each segment the one before it in its rows, or -1.
        tails: For each row its last segment.
        starts: Where each segment begins in the batch.
    """

    tokens: list[np.ndarray] = field(default_factory=list[np.ndarray])
    parents: list[int] = field(default_factory=list[int])
    tails: list[int] = field(default_factory=list[int])
    starts: list[int] = field(default_factory=list[int])
    num_tokens: int = 0

    def add(self, tokens: np.ndarray, parent: int) -> int:
        """Append a segment and return its number."""
        self.tokens.append(tokens)
        self.parents.append(parent)
        self.starts.append(self.num_tokens)
        self.num_tokens += len(tokens)
        return len(self.tokens) - 1

    def path(self, row: int) -> list[int]:
        """Segments of a row, first one first."""
        path: list[int] = []
        segment = self.tails[row]
        while segment >= 0:
            path.append(segment)
            segment = self.parents[segment]
        return path[::-1]

    def places(self, row: int) -> np.ndarray:
        """Position of each token of a row in the batch. int64."""
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
    """Put what rows have in common into segments of their own, where it saves enough.

    Args:
        rows: Token ids of each row, at least one each.
        min_saved: Tokens that a common segment must save.
    """
    order = sorted(range(len(rows)), key=lambda row: rows[row].astype(">i4").tobytes())
    ordered = [rows[row] for row in order]
    # common[i]: tokens that rows i - 1 and i of the order have in common.
    common = [0] + [_common(a, b) for a, b in pairwise(ordered)]
    tree = Tree(tails=[-1] * len(rows))
    waiting = [(0, len(rows), 0, -1)]  # rows first..last of the order, done tokens, parent
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
