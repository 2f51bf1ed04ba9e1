"""Pack rows into sequences: best-fit decreasing over a window of rows.

Packing works on lengths only and never splits, drops or repeats a row. The result depends only on
the lengths, the capacity and the window, so a resumed run packs as before.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np

# Rows packed together. Best fit wastes less than 1 % from a few hundred rows on, and a bounded
# window packs n rows in O(n log w).
WINDOW = 4096


def pack(
    lengths: np.ndarray | Sequence[int], capacity: int, *, window: int = WINDOW
) -> list[list[int]]:
    """Group rows so that the lengths of each group sum to at most ``capacity``.

    Args:
        lengths: Length of every row, in tokens, each at least 1. Shape ``[B]``.
        capacity: Maximum tokens per group.
        window: Number of consecutive rows packed together; rows of different windows never
            share a group.

    Returns:
        Groups of row indices, ascending within a group; within a window, groups are ordered by
        their first row. Every row is in exactly one group.

    Raises:
        ValueError: A row is empty or longer than ``capacity``.
    """
    rows = np.asarray(lengths, dtype=np.int64)
    if rows.size and int(rows.min()) < 1:
        raise ValueError(f"row {int(rows.argmin())} is empty")
    if rows.size and int(rows.max()) > capacity:
        longest = int(rows.argmax())
        raise ValueError(
            f"row {longest} has {int(rows[longest])} tokens, more than the capacity of {capacity}"
        )
    groups: list[list[int]] = []
    for start in range(0, len(rows), window):
        groups += _best_fit(rows[start : start + window], capacity, start)
    return groups


def micro_batches(
    rows: Sequence[int] | np.ndarray, lengths: np.ndarray, capacity: int, *, packing: bool
) -> list[list[int]]:
    """Divide the groups of one step into micro batches; no group is split.

    Args:
        rows: Indices of the step's groups.
        lengths: Number of tokens of every group of the run.
        capacity: Maximum tokens per micro batch; a longer group is a micro batch of its own.
        packing: If False, every group is a micro batch of its own.

    Returns:
        Lists of group indices; each group is in exactly one list.
    """
    numbers = [int(row) for row in rows]
    if not packing:
        return [[row] for row in numbers]
    alone = [[row] for row in numbers if lengths[row] > capacity]
    short = [row for row in numbers if lengths[row] <= capacity]
    if not short:
        return alone
    bins = pack(np.asarray(lengths)[short], capacity)
    return alone + [[short[i] for i in members] for members in bins]


def _best_fit(lengths: np.ndarray, capacity: int, first_row: int) -> list[list[int]]:
    order = np.argsort(-lengths, kind="stable")
    groups: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free tokens, group), ascending, to find the best fit
    for index in order.tolist():
        length = int(lengths[index])
        place = bisect_left(room, (length, -1))
        if place < len(room):
            free, group = room.pop(place)
        else:
            free, group = capacity, len(groups)
            groups.append([])
        groups[group].append(first_row + index)
        if free > length:
            insort(room, (free - length, group))
    return sorted(sorted(group) for group in groups)
