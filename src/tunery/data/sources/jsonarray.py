"""JSON records that are not one per line, streamed record by record.

They are in one array (the whole file, or the value of a key), or objects that span several lines.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunery.data.problems import FileProblem, Problem, say, visible
from tunery.data.problems import show as show_value
from tunery.data.sources.base import Bad, Batch, ReadOptions, too_large
from tunery.data.sources.decode import Decoder
from tunery.data.sources.jsonlines import OutOfRange, shortened
from tunery.data.sources.syntax import syntax_problem
from tunery.data.sources.window import Window
from tunery.types import is_object

BATCH_ROWS = 2_000

DEFAULT = ReadOptions()


class _TooLarge(Exception):
    """A record exceeds the size limit."""


class ArrayFile:
    """A file with one array of records; the start of a record is its byte offset.

    Args:
        name: Name of the file in problems.
        path: The file to read, in UTF-8.
        skip: Length of a byte-order mark to skip, in bytes.
        records_at: Dotted key of the array; None if the whole file is the array.
        bare: Whether the file has no array, but consecutive objects that may span lines.
        options: How the file is read, with the size limit of a record.
    """

    columns: tuple[str, ...] | None = None
    is_table: bool = False
    notes: tuple[Problem, ...] = ()

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        skip: int = 0,
        records_at: str | None = None,
        bare: bool = False,
        options: ReadOptions = DEFAULT,
    ) -> None:
        self.name = name
        self.path = path
        self.skip = skip
        self.records_at = records_at
        self.bare = bare
        self.options = options
        self._decoder = Decoder()

    def batches(self) -> Iterator[Batch]:
        """Read the records in batches.

        Raises:
            FileProblem: There is no array, it is empty, or a record cannot be parsed.
        """
        with Window(self.name, self.path, self.skip) as window:
            try:
                self._enter(window)
            except _TooLarge as error:
                size = self.path.stat().st_size - window.byte
                problem = too_large(self.name, size, self.options, line=window.line, record=None)
                raise FileProblem(problem) from error
            record, batch = 1, self._empty(1)
            for start, line, value, text in self._records(window):
                batch.rows.append(value)
                batch.starts.append(start)  # type: ignore[attr-defined]
                batch.lines.append(line)  # type: ignore[union-attr]
                batch.texts.append(text)  # type: ignore[union-attr]
                record += 1
                if len(batch.rows) >= BATCH_ROWS or isinstance(value, Bad):
                    batch.block = "\n".join(batch.texts or ())
                    yield batch
                    batch = self._empty(record)
            if batch.rows:
                batch.block = "\n".join(batch.texts or ())
                yield batch
            if record == 1:
                raise FileProblem(
                    Problem(
                        "E102",
                        self.name,
                        say("the list is empty: 0 records"),
                        say("Check that the export completed; expected a list of rows."),
                        line=1,
                    )
                )

    def load(self, start: int) -> Any:
        """Read the record that starts at byte ``start``."""
        with Window(self.name, self.path, start) as window:
            window.more()
            return self._value(window)[0]

    def _empty(self, first: int) -> Batch:
        return Batch(first, [], array("Q"), [], [], "")

    def _enter(self, window: Window) -> None:
        """Move to the first record: into the array, following the keys of ``records_at``."""
        if self.bare:
            return
        for key in self.records_at.split(".") if self.records_at else ():
            if window.skip_space() != "{":
                raise self._no_key(window, key)
            window.advance(window.at + 1)
            while True:
                character = window.skip_space()
                if character == ",":
                    window.advance(window.at + 1)
                    continue
                if character != '"':
                    raise self._no_key(window, key)
                name = self._value(window)[0]
                window.skip_space()
                window.advance(window.at + 1)  # the colon
                window.skip_space()
                if name == key:
                    break
                self._value(window)
        if window.skip_space() != "[":
            raise self._no_key(window, self.records_at or "")
        window.advance(window.at + 1)

    def _no_key(self, window: Window, key: str) -> FileProblem:
        return FileProblem(
            Problem(
                "E121",
                self.name,
                say("no list of rows at {key}", key=visible(self.records_at or key, 60)),
                say("Set --data.records_at to the key that holds the list of rows."),
                line=window.line,
            )
        )

    def _records(self, window: Window) -> Iterator[tuple[int, int, Any, str]]:
        record = 0
        comma: tuple[int, int] | None = None
        while True:
            character = window.skip_space()
            if character == "" and self.bare:
                return
            if character == "]":
                if comma is not None and record:
                    raise FileProblem(self._comma(window, comma))
                window.advance(window.at + 1)
                self._tail(window)
                return
            if character == "":
                raise FileProblem(self._cut(window, record))
            if record and comma is None and not self.bare:
                raise FileProblem(self._missing_comma(window, record, character))
            record += 1
            start, line, column = window.byte, window.line, window.column
            try:
                value, text = self._value(window)
            except _TooLarge as error:
                size = self.path.stat().st_size - start
                problem = too_large(self.name, size, self.options, line=line, record=record)
                raise FileProblem(problem) from error
            except (ValueError, StopIteration, RecursionError) as error:
                raise FileProblem(self._broken(window, record, line, column)) from error
            yield start, line, self._checked(value, text, record, line), text
            comma = None
            if window.skip_space() == ",":
                comma = (window.line, window.column + 1)
                window.advance(window.at + 1)

    def _value(self, window: Window) -> tuple[Any, str]:
        """Parse the value at the window's position, reading more text until it is complete."""
        while True:
            try:
                value, end = self._decoder.scan(window.text, window.at)
                # A number at the end of the text read so far may continue.
                if end < len(window.text) or window.ended or not isinstance(value, int | float):
                    text = window.text[window.at : end]
                    window.advance(end)
                    return value, text
            except (ValueError, StopIteration):
                if len(window.text) - window.at > self.options.max_record_bytes:
                    raise _TooLarge from None
                if not window.more():
                    raise
                continue
            window.more()

    def _checked(self, value: Any, text: str, record: int, line: int) -> Any:
        """Replace a value that is not a usable row with its problem."""
        if not is_object(value):
            what = (
                say('a string "{text}"', text=visible(value, 60))
                if isinstance(value, str)
                else show_value(value)
            )
            problem = Problem(
                "E122",
                self.name,
                say("record {record}: expected an object, found {what}", record=record, what=what),
                say("Write each row as an object; plain text belongs in a .txt file."),
                line=line,
                record=record,
            )
            self._decoder.odd.clear()
            return Bad(problem, text)
        if text.count('":') != len(value):
            kept = list(self._decoder.odd)
            twice = self._decoder.duplicate(text)
            self._decoder.odd[:] = kept
            if twice is not None:
                key, first, second = twice
                problem = Problem(
                    "E124",
                    self.name,
                    say(
                        "key {key} appears twice ({first}, {second})",
                        key=visible(key, 40),
                        first=shortened(first),
                        second=shortened(second),
                    ),
                    say("Keep only the intended one."),
                    line=line,
                    record=record,
                    field=visible(key, 40),
                )
                return Bad(problem, text)
        if self._decoder.odd:
            numbers = list(self._decoder.odd)
            self._decoder.odd.clear()
            return OutOfRange(value, numbers)
        return value

    def _comma(self, window: Window, comma: tuple[int, int]) -> Problem:
        line, column = comma
        same = line == window.line
        return Problem(
            "E104",
            self.name,
            say("there is a comma before {close}", close="]"),
            say("Delete the comma."),
            line=line,
            column=column,
            excerpt=_line_around(window) if same else None,
        )

    def _cut(self, window: Window, record: int) -> Problem:
        return Problem(
            "E105",
            self.name,
            say("the file ends before the list is closed, after {record} records", record=record),
            say("Download or export the file again; or add ] if it is complete."),
            line=window.line,
            column=window.column + 1,
        )

    def _missing_comma(self, window: Window, record: int, character: str) -> Problem:
        return Problem(
            "E103",
            self.name,
            say(
                "expected , or ] after record {record}, found {found}",
                record=record,
                found=repr(character),
            ),
            say("Put a comma between the records."),
            line=window.line,
            column=window.column + 1,
            record=record,
        )

    def _broken(self, window: Window, record: int, line: int, column: int) -> Problem:
        """Make the problem for a record that cannot be parsed, with the position of the error."""
        text = window.text[window.at :]
        problem = syntax_problem(self.name, text, line=line, record=record)
        if window.ended and _is_cut(text):
            return Problem(
                "E105",
                self.name,
                say("the file ends inside record {record}", record=record),
                say("Download or export the file again: its end is missing."),
                line=line + text.count("\n"),
                record=record,
            )
        at = (problem.column or 1) - 1
        before = text[:at]
        newlines = before.count("\n")
        start = before.rfind("\n") + 1
        end = text.find("\n", at)
        whole = text[start : end if end >= 0 else None]
        return Problem(
            problem.code,
            self.name,
            problem.found,
            say("Correct the record; until then the rest of the file cannot be read."),
            line=line + newlines,
            column=at - start + 1 + (0 if newlines else column),
            record=record,
            excerpt=whole if newlines and len(whole) < 4_000 else None,
        )

    def _tail(self, window: Window) -> None:
        """Check that only whitespace, or the rest of the object with the array, follows."""
        character = window.skip_space()
        if character and not self.records_at:
            raise FileProblem(
                Problem(
                    "E107",
                    self.name,
                    say("there is text after the list"),
                    say("Delete what follows the closing bracket."),
                    line=window.line,
                    column=window.column + 1,
                )
            )


def _line_around(window: Window) -> str | None:
    """The current line of the window, if it is in memory and short; otherwise None."""
    start = window.at - window.column
    end = window.text.find("\n", window.at)
    text = window.text[start : end if end >= 0 else None] if start >= 0 else ""
    return text if 0 < len(text) < 4_000 else None


def _is_cut(text: str) -> bool:
    """Whether a record is only incomplete, without an error before its end."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.msg.startswith("Unterminated string") or not text[error.pos :].strip()
    except (ValueError, RecursionError):
        pass
    return False
