"""What a source gives: records in batches, each with its place, and the problems between them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunery.data.problems import Problem, say
from tunery.types import RowRef

DEFAULT_RECORD_MB = 64
DEFAULT_COLUMNS = 4_096
MB = 1_000_000
BLOCK_BYTES = 1024 * 1024


class Bad:
    """A placeholder in a batch for a record that could not be parsed."""

    __slots__ = ("problem", "raw")

    def __init__(self, problem: Problem, raw: str) -> None:
        self.problem = problem
        self.raw = raw


@dataclass(slots=True)
class Batch:
    """Records that follow each other in one file.

    Args:
        first: 1-based number of the first record.
        rows: Parsed values, or ``Bad``.
        starts: Where each record begins: a byte offset, or a row number in columnar files.
        lines: 1-based physical line of each record; None where the file has no lines.
        texts: The records exactly as in the file, if available at no cost.
        block: All the text of the batch in one piece, to ask once what no row can hold;
            None means every row must be looked at.
    """

    first: int
    rows: list[Any]
    starts: Sequence[int]
    lines: Sequence[int] | None
    texts: Sequence[str] | None = None
    block: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One raw row and its position."""

    raw: dict[str, Any]
    ref: RowRef


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are to be read; the settings of ``data`` that concern a file."""

    encoding: str = "utf-8"
    records_at: str | None = None
    header: bool = True
    delimiter: str | None = None
    max_record_mb: int = DEFAULT_RECORD_MB
    max_columns: int = DEFAULT_COLUMNS

    @property
    def max_record_bytes(self) -> int:
        """``max_record_mb`` in bytes."""
        return self.max_record_mb * MB


def too_large(
    name: str, size: int, options: ReadOptions, *, line: int | None, record: int | None
) -> Problem:
    """Make E127: a record above the limit, and the setting that lets it through.

    Args:
        name: The file as messages name it.
        size: Bytes of the record, or of the whole file where its end was not looked for.
        options: With the limit.
        line: 1-based line where the record begins.
        record: Its 1-based number.
    """
    return Problem(
        "E127",
        name,
        say(
            "the record has up to {size} MB; records above {limit} MB are not read",
            size=max(1, size // MB),
            limit=options.max_record_mb,
        ),
        say(
            "Split it into smaller records, or set --data.max_record_mb {needed}.",
            needed=size // MB + 1,
        ),
        line=line,
        record=record,
    )


def too_wide(name: str, count: int, options: ReadOptions) -> Problem:
    """Make E145: a table with more columns than are read."""
    return Problem(
        "E145",
        name,
        say("{count} columns; at most {limit} are read", count=count, limit=options.max_columns),
        say(
            "Check that it is a table of text; if it is, set --data.max_columns {count}.",
            count=count,
        ),
        line=1,
    )


class FileSource(Protocol):
    """One file of rows."""

    @property
    def name(self) -> str:
        """The file as messages name it."""
        ...

    @property
    def path(self) -> Path:
        """The file that is read (a decompressed copy, for gzip)."""
        ...

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Columns of the file where it declares them; None where each row has its own."""
        ...

    @property
    def is_table(self) -> bool:
        """Whether rows are table cells, where a missing value may be written as a word."""
        ...

    @property
    def notes(self) -> tuple[Problem, ...]:
        """Peculiarities met while reading that are accepted and reported."""
        ...

    def batches(self) -> Iterator[Batch]:
        """Read the file once, in bounded memory.

        Raises:
            FileProblem: The file cannot be read any further.
        """
        ...

    def load(self, start: int) -> Any:
        """Read the one record that begins at ``start``."""
        ...


@dataclass(slots=True)
class Lines:
    """Physical lines of records, at no cost while record N is on line N + constant."""

    shift: int | None = None
    exact: array[int] | None = None

    def extend(self, lines: Sequence[int], first: int) -> None:
        """Add the lines of a batch whose first record has number ``first``."""
        if self.exact is None:
            if isinstance(lines, range) and (
                self.shift is None or lines.start - first == self.shift
            ):
                self.shift = lines.start - first
                return
            start = self.shift or 0
            self.exact = array("I", (n + start for n in range(1, first)))
        self.exact.extend(lines)

    def of(self, record: int) -> int | None:
        """The line of a record."""
        if self.exact is not None:
            return self.exact[record - 1]
        return record + self.shift if self.shift is not None else None
