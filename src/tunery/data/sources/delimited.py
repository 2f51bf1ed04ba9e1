"""CSV and TSV files: a header, then rows; all cells are text, including NA, null and nan."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunery.data.problems import FileProblem, Problem, say, visible
from tunery.data.sources.base import Bad, Batch, ReadOptions, too_large, too_wide
from tunery.data.sources.charset import not_utf8
from tunery.data.sources.delimiter import find_delimiter, spelled

BATCH_ROWS = 4_000
HEAD_BYTES = 2**16
CR_BYTES = 4_096


class _Reader:
    """Iterator of decoded lines for csv.reader that counts the bytes and lines read."""

    def __init__(self, name: str, path: Path, skip: int, options: ReadOptions) -> None:
        self.name = name
        self.path = path
        self.options = options
        self.file = path.open("rb")
        self.file.seek(skip)
        self.byte = skip
        self.line = 0
        self.last = ""
        self.ends_in_cr = ends_in_cr(path, skip)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        limit = self.options.max_record_bytes
        piece = self._to_cr(limit + 1) if self.ends_in_cr else self.file.readline(limit + 1)
        if not piece:
            raise StopIteration
        self.line += 1
        if len(piece) > limit:
            size = self.path.stat().st_size - self.byte
            raise FileProblem(too_large(self.name, size, self.options, line=self.line, record=None))
        try:
            self.last = piece.decode("utf-8")
        except UnicodeDecodeError as error:
            line, at = self.line, error.start
            problem = not_utf8(self.name, self.path, piece, at, line=line, record=None)
            raise FileProblem(problem) from error
        self.byte += len(piece)
        return self.last

    def _to_cr(self, limit: int) -> bytes:
        """Read a line that ends in a carriage return alone, as on old Macs."""
        piece = b""
        while len(piece) < limit and (read := self.file.read(min(CR_BYTES, limit - len(piece)))):
            end = read.find(b"\r") + 1
            if end:
                self.file.seek(end - len(read), os.SEEK_CUR)
                return piece + read[:end]
            piece += read
        return piece


def ends_in_cr(path: Path, skip: int) -> bool:
    """Whether the lines of a file end in carriage returns alone; checks its first 64 KiB."""
    with path.open("rb") as file:
        file.seek(skip)
        head = file.read(HEAD_BYTES)
    return b"\r" in head and b"\n" not in head


class DelimitedFile:
    """A CSV or TSV file; the start of a record is its byte offset.

    Args:
        name: Name of the file in problems.
        path: The file to read, in UTF-8.
        skip: Length of a byte-order mark to skip, in bytes.
        usual: The usual delimiter of this type of file.
        options: How the file is read: the delimiter (detected if None), whether there is a header
            (otherwise columns are named 1, 2, 3), and limits.

    Raises:
        FileProblem: The header cannot be read.
        ConfigError: The configured delimiter is not valid.
    """

    is_table: bool = True

    def __init__(
        self, name: str, path: Path, *, skip: int, usual: str, options: ReadOptions
    ) -> None:
        self.name = name
        self.path = path
        self.options = options
        self.header = options.header
        found = find_delimiter(path, skip, usual, options.delimiter)
        self.delimiter = found.delimiter
        self.skip = skip + found.skip
        self.first_line = 1 if found.skip else 0
        self.notes: tuple[Problem, ...] = ()
        if found.delimiter != usual and options.delimiter is None:
            note = say(
                "cells are separated by {delimiter}",
                delimiter=spelled(found.delimiter),
            )
            self.notes = (Problem("N117", name, note),)
        self.columns = self._columns()

    def _open(self, start: int) -> tuple[_Reader, Any]:
        """Open the file at byte ``start``; returns its lines and a reader of rows."""
        lines = _Reader(self.name, self.path, start, self.options)
        lines.line = self.first_line
        # The limit is global to the process, so it is set again whenever a file is opened.
        csv.field_size_limit(self.options.max_record_bytes)
        return lines, csv.reader(lines, delimiter=self.delimiter, strict=True)

    def batches(self) -> Iterator[Batch]:
        """Read the rows in batches.

        Raises:
            FileProblem: A row cannot be parsed, so the rest cannot be read, or there are no rows.
        """
        lines, rows = self._open(self.skip)
        record, batch = 1, Batch(1, [], array("Q"), [])
        with lines.file:
            if self.header:
                self._next(rows, lines, 0)
            while True:
                start, line = lines.byte, lines.line + 1
                cells = self._next(rows, lines, record)
                if cells is None:
                    break
                if not cells:
                    continue
                batch.rows.append(self._row(cells, line, lines.line, record))
                batch.starts.append(start)  # type: ignore[attr-defined]
                batch.lines.append(line)  # type: ignore[union-attr]
                record += 1
                if len(batch.rows) >= BATCH_ROWS:
                    yield batch
                    batch = Batch(record, [], array("Q"), [])
        if batch.rows:
            yield batch
        if record == 1:
            raise FileProblem(
                Problem(
                    "E102",
                    self.name,
                    say("a header and no records") if self.header else say("no records"),
                    say("Check that the export completed."),
                    line=1,
                )
            )

    def load(self, start: int) -> Any:
        """Read the row that starts at byte ``start``."""
        lines, rows = self._open(start)
        with lines.file:
            cells = next(rows)
        return dict(zip(self.columns, cells, strict=True))

    def _columns(self) -> tuple[str, ...]:
        lines, rows = self._open(self.skip)
        with lines.file:
            cells = self._next(rows, lines, 0) or []
        if len(cells) > self.options.max_columns:
            raise FileProblem(too_wide(self.name, len(cells), self.options))
        if not self.header:
            return tuple(str(i + 1) for i in range(len(cells)))
        names = [cell.strip() for cell in cells]
        if names and not any(names):
            raise FileProblem(
                Problem(
                    "E143",
                    self.name,
                    say("all cells of the header are empty ({count})", count=len(names)),
                    say(
                        "Write the names of the columns in the first line. If the file has no "
                        "header: --data.header false; its columns are 1, 2, 3."
                    ),
                    line=1,
                )
            )
        seen: set[str] = set()
        for name in names:
            if name and name in seen:
                raise FileProblem(
                    Problem(
                        "E144",
                        self.name,
                        say("the header names {column} twice", column=visible(name, 40)),
                        say("Rename one of the columns."),
                        line=1,
                    )
                )
            seen.add(name)
        return tuple(names)

    def _next(self, rows: Any, lines: _Reader, record: int) -> list[str] | None:
        line, start = lines.line + 1, lines.byte
        try:
            return next(rows, None)
        except csv.Error as error:
            what = str(error)
            if "field larger than" in what:
                size = self.path.stat().st_size - start
                problem = too_large(self.name, size, self.options, line=line, record=record or None)
                raise FileProblem(problem) from error
            if "new-line character" in what:
                raise FileProblem(
                    Problem(
                        "E141",
                        self.name,
                        say("this row has a carriage return outside of quotes"),
                        say("Save the file with one kind of line end, such as LF."),
                        line=line,
                        record=record or None,
                    )
                ) from error
            raise FileProblem(
                Problem(
                    "E141",
                    self.name,
                    say("the quotes in this row are not closed")
                    if "unexpected end" in what
                    else say("text follows the closing quote of a cell"),
                    say('Close the quotes; inside a quoted cell, write a quote twice: "".'),
                    line=line,
                    record=record or None,
                )
            ) from error

    def _row(self, cells: list[str], line: int, last: int, record: int) -> Any:
        expected = len(self.columns)
        if len(cells) == expected:
            return dict(zip(self.columns, cells, strict=True))
        text = self.delimiter.join(cells)
        found = (
            say("1 column, the header has {expected}", expected=expected)
            if len(cells) == 1
            else say(
                "{count} columns, the header has {expected}", count=len(cells), expected=expected
            )
        )
        fix = (
            say(
                "Likely an unquoted line break: lines {line} and {next} may be one row. "
                "Quote cells that contain line breaks.",
                line=line,
                next=last + 1,
            )
            if len(cells) < expected
            else say("Quote cells that contain the delimiter.")
        )
        code = "E140" if len(cells) < expected else "E142"
        return Bad(Problem(code, self.name, found, fix, line=line, record=record), text)
