"""Lazily read examples: 8 bytes per row in memory, and each row is read on access."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from tunery.data.dataset import Dataset
from tunery.data.formats.beside import with_weight
from tunery.data.formats.written import read_written
from tunery.data.index import FileRows, place
from tunery.data.ledger import Ledger
from tunery.data.lint.report import Report
from tunery.data.lint.scan import Scan
from tunery.data.problems import Problem, RowProblem, say
from tunery.data.variables import fill_example
from tunery.errors import DataError
from tunery.i18n import t
from tunery.types import Example, RowRef

MAX_ROWS = 100_000_000
"""Maximum rows of a dataset with repeats; more could not be tokenized or trained anyway."""


def excess(name: str, rows: int, total: int) -> Problem | None:
    """Problem E174 if a dataset has more rows than ``MAX_ROWS`` after repeats, otherwise None.

    Args:
        name: The dataset.
        rows: Number of its rows.
        total: Number of its rows after repeats.
    """
    if total <= MAX_ROWS:
        return None
    return Problem(
        "E174",
        name,
        say(
            "its {count} rows would become {total}; at most {limit} are supported",
            count=f"{rows:,}",
            total=f"{total:,}",
            limit=f"{MAX_ROWS:,}",
        ),
        say("Repeat it less often, or train for more epochs: train.num_epochs."),
    )


class DatasetRows(Sequence[Example]):
    """The usable rows of one dataset; each access reads and converts the row.

    Access raises DataError (E181) if a file changed since it was scanned.

    Args:
        dataset: The dataset.
        result: The scan of its files.
        variables: Values for placeholders, by name.
    """

    def __init__(self, dataset: Dataset, result: Scan, variables: dict[str, str]) -> None:
        self.dataset = dataset
        self._files: list[FileRows] = [rows for rows in result.files if len(rows)]
        self._format = result.format
        self._options = result.options
        self._variables = variables
        self._ends: list[int] = []
        total = 0
        for rows in self._files:
            total += len(rows)
            self._ends.append(total)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, i: int) -> Example: ...
    @overload
    def __getitem__(self, i: slice) -> list[Example]: ...
    def __getitem__(self, i: int | slice) -> Example | list[Example]:
        if isinstance(i, slice):
            return [self[n] for n in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        piece, at = place(self._ends, i % len(self))
        rows = self._files[piece]
        assert self._format is not None
        ref = rows.ref(at)
        try:
            row = read_written(rows.load(at), self._options)
            example = self._format.convert(row, self._options, ref)
            example = with_weight(example, self._format, row, self._options)
        except (OSError, ValueError, LookupError, StopIteration, RowProblem) as error:
            raise DataError(
                t(
                    "{file} record {record}: the file changed while it was being read.",
                    file=ref.file,
                    record=ref.record,
                ),
                fix=t("Restore the file as it was when it was checked, or start again."),
                code="E181",
                file=ref.file,
            ) from error
        return fill_example(example, self._variables) if self._variables else example

    def ref(self, i: int) -> RowRef:
        """Where row ``i`` comes from, without reading it."""
        piece, at = place(self._ends, i)
        return self._files[piece].ref(at)

    def raw(self, i: int) -> Any:
        """Row ``i`` exactly as stored in its file."""
        piece, at = place(self._ends, i)
        return self._files[piece].load(at)


class Selection(Sequence[int]):
    """Indices of the selected rows, in order; repeats need no memory.

    Args:
        numbers: The indices, without repeats.
        times: How many times they are repeated in total.
    """

    def __init__(self, numbers: array[int] | range, times: int = 1) -> None:
        self.numbers = numbers
        self.times = times

    def __len__(self) -> int:
        return len(self.numbers) * self.times

    @overload
    def __getitem__(self, i: int) -> int: ...
    @overload
    def __getitem__(self, i: slice) -> list[int]: ...
    def __getitem__(self, i: int | slice) -> int | list[int]:
        if isinstance(i, slice):
            return [self[n] for n in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        return self.numbers[i % len(self.numbers)]


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive examples that are repeated as a whole.

    Args:
        start: Index of the first example.
        size: Number of examples before the repeats.
        times: How many times they occur in total.
    """

    start: int
    size: int
    times: int = 1


class ExampleSet(Sequence[Example]):
    """The examples of one or more datasets, in order, read lazily.

    Args:
        parts: The rows of each dataset and the selection of them, with repeats.
        ledger: Counts of read, used and excluded rows.
        warnings: One problem per kind of warning.
        hash: SHA-256 over the files' content and how they are read.
        reports: The check report of each dataset.
    """

    def __init__(
        self,
        parts: Sequence[tuple[DatasetRows, Selection]],
        *,
        ledger: Ledger,
        warnings: list[Problem],
        hash: str,
        reports: list[Report],
    ) -> None:
        self._parts = list(parts)
        self.ledger = ledger
        self.warnings = warnings
        self.hash = hash
        self.reports = reports
        self._ends: list[int] = []
        self._distinct: list[int] = []  # per part, the number of examples before the first repeat
        total = 0
        for rows, taken in self._parts:
            total += len(taken)
            self._ends.append(total)
            self._distinct.append(min(len(taken.numbers), len(rows)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, i: int) -> Example: ...
    @overload
    def __getitem__(self, i: slice) -> list[Example]: ...
    def __getitem__(self, i: int | slice) -> Example | list[Example]:
        if isinstance(i, slice):
            return [self[n] for n in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        rows, at = self._find(i % len(self))
        return rows[at]

    def ref(self, i: int) -> RowRef:
        """Where example ``i`` comes from, without reading it."""
        rows, at = self._find(i)
        return rows.ref(at)

    def raw(self, i: int) -> Any:
        """Example ``i`` exactly as stored in its file."""
        rows, at = self._find(i)
        return rows.raw(at)

    def is_repeat(self, i: int) -> bool:
        """Whether example ``i`` repeats an earlier row."""
        piece, at = place(self._ends, i)
        return at >= self._distinct[piece]

    def blocks(self) -> list[Block]:
        """All examples as blocks that are repeated as a whole."""
        starts = [0, *self._ends]
        return [
            Block(start, len(taken.numbers), taken.times)
            for start, (_, taken) in zip(starts, self._parts, strict=False)
        ]

    def first(self, i: int) -> int:
        """Index of the first example that is the same row of the same dataset entry."""
        piece, at = place(self._ends, i)
        return i - at + at % len(self._parts[piece][1].numbers)

    def _find(self, i: int) -> tuple[DatasetRows, int]:
        piece, at = place(self._ends, i)
        rows, taken = self._parts[piece]
        return rows, taken[at]
