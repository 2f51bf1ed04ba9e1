"""The protocol of file sources: records in batches with their positions, and problems."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunery.data.problems import Problem, say

DEFAULT_RECORD_MB = 64
DEFAULT_COLUMNS = 4_096
MB = 1_000_000
BLOCK_BYTES = 1024 * 1024


class Bad:
    """Replaces a record that cannot be used in a batch.

    Args:
        problem: Why it cannot be used.
        raw: The record as text; may be empty.
    """

    __slots__ = ("problem", "raw")

    def __init__(self, problem: Problem, raw: str) -> None:
        self.problem = problem
        self.raw = raw


@dataclass(slots=True)
class Batch:
    """Consecutive records of one file.

    Args:
        first: Number of the first record, from 1.
        rows: Parsed values, or ``Bad``.
        starts: Start of each record: a byte offset, or a row index from 0 in columnar files.
        lines: Line of each record, from 1; None if the file has no lines.
        texts: The records exactly as in the file, if available without extra work.
        block: The text of the whole batch, for fast searches; None means that every row must be
            searched.
    """

    first: int
    rows: list[Any]
    starts: Sequence[int]
    lines: Sequence[int] | None
    texts: Sequence[str] | None = None
    block: str | None = None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """The ``data`` settings that determine how files are read."""

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
    """Make E127 for a record above the size limit, with the setting that allows it.

    Args:
        name: Name of the file.
        size: Size of the record in bytes, or of the rest of the file if its end is not known.
        options: The options with the limit.
        line: Line at which the record starts, from 1.
        record: Number of the record, from 1.
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
    """Make E145 for a table with too many columns."""
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
    """One data file."""

    @property
    def name(self) -> str:
        """Name of the file in problems."""
        ...

    @property
    def path(self) -> Path:
        """The file that is read; for gzip, a decompressed copy."""
        ...

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Columns that the file declares; None if each row has its own."""
        ...

    @property
    def is_table(self) -> bool:
        """Whether rows are table cells, where a missing value may be written as a word."""
        ...

    @property
    def notes(self) -> tuple[Problem, ...]:
        """Accepted peculiarities of the file, found while reading."""
        ...

    def batches(self) -> Iterator[Batch]:
        """Read the file once, in bounded memory.

        Raises:
            FileProblem: The file cannot be read any further.
        """
        ...

    def load(self, start: int) -> Any:
        """Read the record that starts at ``start``, one of a batch's ``starts``."""
        ...


@dataclass(slots=True)
class Lines:
    """Lines of records; needs no memory as long as record N is on line N + constant."""

    shift: int | None = None
    exact: array[int] | None = None

    def extend(self, lines: Sequence[int], first: int) -> None:
        """Add the lines of a batch; ``first`` is the number of its first record."""
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
        """The line of a record, both counted from 1; None if no lines were added."""
        if self.exact is not None:
            return self.exact[record - 1]
        return record + self.shift if self.shift is not None else None
