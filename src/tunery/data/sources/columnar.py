"""Parquet and Arrow files, read in batches; pyarrow is imported on first use."""

# pyarrow has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunery.data.problems import FileProblem, Problem, say, visible
from tunery.data.sources.base import Bad, Batch, ReadOptions, too_large, too_wide
from tunery.data.sources.cells import Cells
from tunery.errors import DataError
from tunery.i18n import t

BATCH_ROWS = 2_000
DEFAULT = ReadOptions()


def _pyarrow() -> Any:
    """Import pyarrow.

    Raises:
        DataError: pyarrow is not installed.
    """
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise DataError(
            t("Parquet and Arrow files need pyarrow, which is not installed."),
            fix=t('Run: pip install "tunery[train]"'),
        ) from error
    return pyarrow


class ParquetFile:
    """A Parquet file; the start of a record is its row index, from 0."""

    is_table = True

    def __init__(self, name: str, path: Path, options: ReadOptions = DEFAULT) -> None:
        self.name = name
        self.path = path
        self.options = options
        self._arrow = _pyarrow()
        self._group: tuple[int, list[dict[str, Any]]] | None = None
        from pyarrow import parquet

        try:
            self._file = parquet.ParquetFile(path)
        except (self._arrow.ArrowException, OSError, ValueError) as error:
            raise FileProblem(_unreadable(name, "Parquet", error)) from error
        self.columns: tuple[str, ...] | None = tuple(self._file.schema_arrow.names)
        if len(self.columns) > options.max_columns:
            raise FileProblem(too_wide(name, len(self.columns), options))
        distinct(self.columns, name)
        self._cells = Cells(name, self._file.schema_arrow)
        meta = self._file.metadata
        self._ends: list[int] = []
        total = 0
        for i in range(meta.num_row_groups):
            total += meta.row_group(i).num_rows
            self._ends.append(total)

    @property
    def notes(self) -> tuple[Problem, ...]:
        """Notes about changes made to the rows read so far."""
        return tuple(self._cells.notes)

    def batches(self) -> Iterator[Batch]:
        """Read the rows in batches.

        Raises:
            FileProblem: The file is damaged or empty.
        """
        record = 1
        batches = self._file.iter_batches(batch_size=BATCH_ROWS)
        while True:
            try:
                batch = next(batches)
                rows = self._cells.clean(batch.to_pylist())
            except StopIteration:
                break
            except (self._arrow.ArrowException, OSError, ValueError) as error:
                raise FileProblem(_unreadable(self.name, "Parquet", error)) from error
            limited(rows, batch.nbytes, self.name, record, self.options)
            yield Batch(record, rows, range(record - 1, record - 1 + len(rows)), None)
            record += len(rows)
        if record == 1:
            raise FileProblem(_empty(self.name))

    def load(self, start: int) -> Any:
        """Read row ``start``; its row group stays in memory for the next call."""
        group = next(i for i, end in enumerate(self._ends) if start < end)
        if self._group is None or self._group[0] != group:
            rows = self._cells.clean(self._file.read_row_group(group).to_pylist())
            self._group = (group, rows)
        return self._group[1][start - (self._ends[group - 1] if group else 0)]


class ArrowFile:
    """An Arrow IPC file or stream, as written by Hugging Face datasets; memory-mapped."""

    is_table = True

    def __init__(self, name: str, path: Path, options: ReadOptions = DEFAULT) -> None:
        self.name = name
        self.path = path
        self.options = options
        self._arrow = _pyarrow()
        mapped = self._arrow.memory_map(str(path))
        try:
            self._batches = self._open(mapped)
        except (self._arrow.ArrowException, OSError, ValueError) as error:
            raise FileProblem(_unreadable(name, "Arrow", error)) from error
        if len(self.columns or ()) > options.max_columns:
            raise FileProblem(too_wide(name, len(self.columns or ()), options))
        distinct(self.columns or (), name)
        self._ends: list[int] = []
        total = 0
        for batch in self._batches:
            total += batch.num_rows
            self._ends.append(total)

    def _open(self, mapped: Any) -> list[Any]:
        """Open an IPC file or stream; the record batches stay on disk."""
        try:
            reader = self._arrow.ipc.open_file(mapped)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        except self._arrow.ArrowInvalid:
            mapped.seek(0)
            reader = self._arrow.ipc.open_stream(mapped)
            batches = list(reader)
        self.columns: tuple[str, ...] | None = tuple(reader.schema.names)
        self._cells = Cells(self.name, reader.schema)
        return batches

    @property
    def notes(self) -> tuple[Problem, ...]:
        """Notes about changes made to the rows read so far."""
        return tuple(self._cells.notes)

    def batches(self) -> Iterator[Batch]:
        """Read the rows in batches.

        Raises:
            FileProblem: The file is empty.
        """
        record = 1
        for whole in self._batches:
            for at in range(0, whole.num_rows, BATCH_ROWS):
                part = whole.slice(at, BATCH_ROWS)
                rows = self._cells.clean(part.to_pylist())
                limited(rows, part.nbytes, self.name, record, self.options)
                yield Batch(record, rows, range(record - 1, record - 1 + len(rows)), None)
                record += len(rows)
        if record == 1:
            raise FileProblem(_empty(self.name))

    def load(self, start: int) -> Any:
        """Read row ``start``."""
        group = next(i for i, end in enumerate(self._ends) if start < end)
        before = self._ends[group - 1] if group else 0
        return self._cells.clean(self._batches[group].slice(start - before, 1).to_pylist())[0]


def distinct(columns: Sequence[str], name: str) -> None:
    """Check that column names are distinct; otherwise a row would keep only the last value.

    Raises:
        FileProblem: E144, two columns have the same name.
    """
    twice = next((column for column, n in Counter(columns).items() if n > 1), None)
    if twice is not None:
        raise FileProblem(
            Problem(
                "E144",
                name,
                say("two columns are named {column}", column=visible(twice, 40)),
                say("Rename one of the columns."),
            )
        )


def limited(rows: list[Any], size: int, name: str, first: int, options: ReadOptions) -> None:
    """Replace rows above the size limit with their problem.

    Args:
        rows: The rows, changed in place.
        size: Size of all rows together, in bytes.
        name: Name of the file in problems.
        first: Number of the first row, from 1.
        options: The options with the limit.
    """
    if size <= options.max_record_bytes:
        return
    for i, row in enumerate(rows):
        row_size = _size(row)
        if row_size > options.max_record_bytes:
            problem = too_large(name, row_size, options, line=None, record=first + i)
            rows[i] = Bad(problem, "")


def _size(value: Any) -> int:
    """Approximate size of a value in bytes: its texts in UTF-8, and 8 per other value."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, list):
        return sum(map(_size, value))
    return 8


def _unreadable(name: str, kind: str, error: Exception) -> Problem:
    return Problem(
        "E150",
        name,
        say("not a readable {kind} file: {why}", kind=kind, why=str(error).splitlines()[0][:80]),
        say("Download or export the file again."),
    )


def _empty(name: str) -> Problem:
    return Problem("E102", name, say("no records"), say("Check that the export completed."))
