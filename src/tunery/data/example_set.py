"""Examples that stay in their files: 8 bytes per row in memory, each row read on access."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, overload

from tunery.data.dataset import Dataset
from tunery.data.formats.written import read_written
from tunery.data.index import FileRows, place
from tunery.data.ledger import Ledger
from tunery.data.lint.report import Report
from tunery.data.lint.scan import Scan
from tunery.data.problems import Problem, RowProblem
from tunery.data.variables import fill_example
from tunery.errors import DataError
from tunery.i18n import t
from tunery.types import Example, RowRef


class DatasetRows(Sequence[Example]):
    """The usable rows of one dataset; a row is read and converted at each access.

    Args:
        dataset: Where they are from.
        result: The pass that found them.
        variables: What fills the placeholders.
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
            example = self._format.convert(
                read_written(rows.load(at), self._options), self._options, ref
            )
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
        """Where row ``i`` came from, without reading it."""
        piece, at = place(self._ends, i)
        return self._files[piece].ref(at)

    def raw(self, i: int) -> Any:
        """Row ``i`` exactly as stored in its file."""
        piece, at = place(self._ends, i)
        return self._files[piece].load(at)


class ExampleSet(Sequence[Example]):
    """The examples of one or more datasets, in order; lazy, so a million rows cost 8 bytes each.

    Args:
        parts: Rows of each dataset and which of them are taken, with repeats; None takes all.
        ledger: Where the rows went.
        warnings: One problem for each kind of warning.
        hash: sha256 over the files' content and how they are read.
        reports: The checker's report of each dataset.
    """

    def __init__(
        self,
        parts: Sequence[tuple[DatasetRows, array[int] | None]],
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
        self._distinct: list[int] = []  # the first ones of a part, before any row comes again
        total = 0
        for rows, chosen in self._parts:
            total += len(rows) if chosen is None else len(chosen)
            self._ends.append(total)
            self._distinct.append(len(rows) if chosen is None else len(set(chosen)))

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
        """Where example ``i`` came from, without reading it."""
        rows, at = self._find(i)
        return rows.ref(at)

    def raw(self, i: int) -> Any:
        """Example ``i`` exactly as stored in its file."""
        rows, at = self._find(i)
        return rows.raw(at)

    def is_repeat(self, i: int) -> bool:
        """Whether example ``i`` is a row that came before."""
        piece, at = place(self._ends, i)
        return at >= self._distinct[piece]

    def _find(self, i: int) -> tuple[DatasetRows, int]:
        piece, at = place(self._ends, i)
        rows, chosen = self._parts[piece]
        return rows, at if chosen is None else chosen[at]
