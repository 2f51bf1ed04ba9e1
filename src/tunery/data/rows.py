"""The groups of a run as the training loop reads them: by index, with lengths and origins."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tunery.data.groups import RowGroup, TokenRow

Origin = Callable[[int], dict[str, Any]]
Question = Callable[[int], tuple[str, str] | None]


def no_question(_: int) -> tuple[str, str] | None:
    """No question is known for any group."""
    return None


class Rows:
    """Groups of token rows by index.

    Args:
        group: Returns the group with an index.
        lengths: Number of tokens of each group. Shape ``[groups]``.
        trained: Number of trained tokens of each group. Shape ``[groups]``.
        origin: Returns where a group comes from (dataset, record), for display.
        beside: Additional groups, one per group, that a step reads without training on them.
        question: Returns a group's question and answer for display, or None.
        trim: Whether a batch leaves out what follows the last trained token of a row.
    """

    def __init__(
        self,
        group: Callable[[int], RowGroup],
        lengths: np.ndarray,
        trained: np.ndarray,
        origin: Origin,
        *,
        beside: Rows | None = None,
        question: Question = no_question,
        trim: bool = True,
    ) -> None:
        self.group = group
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.trained = np.asarray(trained, dtype=np.int64)
        self.origin = origin
        self.beside = beside
        self.question = question
        self.trim = trim

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def of(cls, rows: Sequence[TokenRow], *, name: str = "rows") -> Rows:
        """Make rows from a list, each as its own group.

        Args:
            rows: The rows.
            name: Name of the dataset in origins.
        """
        return cls.of_groups([RowGroup((row,)) for row in rows], name=name)

    @classmethod
    def of_groups(cls, groups: Sequence[RowGroup], *, name: str = "rows") -> Rows:
        """Make rows from a list of groups.

        Args:
            groups: The groups.
            name: Name of the dataset in origins.
        """
        return cls(
            groups.__getitem__,
            np.array([group.num_tokens for group in groups], dtype=np.int64),
            np.array([group.num_trained for group in groups], dtype=np.int64),
            lambda i: {"dataset": name, "record": i + 1},
        )

    def only(self, numbers: Sequence[int] | np.ndarray) -> Rows:
        """The groups with the given indices, in the given order."""
        chosen = np.asarray(numbers, dtype=np.int64)
        return Rows(
            lambda i: self.group(int(chosen[i])),
            self.lengths[chosen],
            self.trained[chosen],
            lambda i: self.origin(int(chosen[i])),
            beside=None if self.beside is None else self.beside.only(chosen),
            question=lambda i: self.question(int(chosen[i])),
            trim=self.trim,
        )

    def and_then(self, other: Rows) -> Rows:
        """These groups followed by the other's, without ``beside``."""
        count = len(self)
        return Rows(
            lambda i: self.group(i) if i < count else other.group(i - count),
            np.concatenate([self.lengths, other.lengths]),
            np.concatenate([self.trained, other.trained]),
            lambda i: self.origin(i) if i < count else other.origin(i - count),
            question=lambda i: self.question(i) if i < count else other.question(i - count),
            trim=self.trim and other.trim,
        )

    def mapped(self, change: Callable[[int, RowGroup], RowGroup]) -> Rows:
        """The same groups, each changed on access; ``change`` must keep their lengths.

        Args:
            change: Called with the index and the group.
        """
        group = self.group

        def changed(number: int) -> RowGroup:
            return change(number, group(number))

        made = copy.copy(self)
        made.group = changed
        return made

    def with_beside(self, beside: Rows) -> Rows:
        """The same groups with ``beside``, which must have the same number of groups."""
        made = copy.copy(self)
        made.beside = beside
        return made

    def whole(self, *, unlike: int | None) -> Rows:
        """The same groups, read up to the last token of each row, whether or not it is trained.

        Args:
            unlike: A token that is left out where a row ends with it; lengths still count it.
        """
        made = self if unlike is None else self.mapped(lambda _, group: _without(group, unlike))
        made = copy.copy(made)
        made.trim = False
        return made


def _without(group: RowGroup, token: int) -> RowGroup:
    """The group without these tokens at the ends of its rows; one token of each row stays."""
    rows: list[TokenRow] = []
    for row in group.rows:
        others = np.flatnonzero(row.input_ids != token)
        size = int(others[-1]) + 1 if others.size else 1
        streams = {name: values[:size] for name, values in row.streams.items()}
        rows.append(TokenRow(row.input_ids[:size], row.loss_mask[:size], streams))
    return RowGroup(tuple(rows), group.facts)
