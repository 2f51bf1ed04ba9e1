"""JSON Lines and plain text: one record per line, read in blocks, indexed by byte offset.

Only ``\\n`` ends a line; U+2028 and similar characters are part of strings.
"""

# ``type(x) is dict`` is the fastest test, but the type checker cannot infer the content from it.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from operator import add
from pathlib import Path
from typing import Any

from tunery.data.problems import FileProblem, Problem, say, show, visible
from tunery.data.sources.base import BLOCK_BYTES, Bad, Batch, ReadOptions, too_large
from tunery.data.sources.charset import guess, not_utf8
from tunery.data.sources.decode import Decoder
from tunery.data.sources.syntax import syntax_problem
from tunery.types import is_object

DEFAULT = ReadOptions()


class LineFile:
    """A file with one record per line; the start of a record is its byte offset.

    Args:
        name: Name of the file in problems.
        path: The file to read, in UTF-8.
        skip: Length of a byte-order mark to skip, in bytes.
        plain: Whether each line is the text of a row (.txt) instead of JSON.
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
        plain: bool = False,
        options: ReadOptions = DEFAULT,
    ) -> None:
        self.name = name
        self.path = path
        self.skip = skip
        self.plain = plain
        self.options = options
        if plain:
            self.columns = ("text",)
        self._decoder = Decoder()

    def batches(self) -> Iterator[Batch]:
        """Read all lines in blocks of about 1 MiB.

        Raises:
            FileProblem: There are no records.
        """
        record, line = 1, 1
        for offset, block in self._blocks():
            if isinstance(block, int):
                yield self._too_long(record, line, offset, block)
                record, line = record + 1, line + 1
                continue
            batch = self._batch(block, offset, record, line)
            line += block.count(b"\n") + (not block.endswith(b"\n"))
            if batch.rows:
                record += len(batch.rows)
                yield batch
        if record == 1:
            blank = line - 1
            raise FileProblem(
                Problem(
                    "E102",
                    self.name,
                    say("{blank} blank lines, no records", blank=blank),
                    say("Check that the upload completed; expected one record per line."),
                )
            )

    def load(self, start: int) -> Any:
        """Read the line that starts at byte ``start``."""
        with self.path.open("rb") as file:
            file.seek(start)
            text = file.readline().rstrip(b"\r\n").decode("utf-8")
        return (
            {"text": text}
            if self.plain
            else self._decoder.scan(text, len(text) - len(text.lstrip()))[0]
        )

    def _blocks(self) -> Iterator[tuple[int, bytes | int]]:
        """Yield (offset, complete lines), or (offset, size) for a line above the size limit."""
        with self.path.open("rb") as file:
            file.seek(self.skip)
            offset, waiting, length = self.skip, [b""], 0
            while read := file.read(BLOCK_BYTES):
                end = read.rfind(b"\n") + 1
                if end:
                    block = b"".join((*waiting, read[:end]))
                    yield offset, block
                    offset += len(block)
                    waiting, length = [read[end:]], len(read) - end
                    continue
                waiting.append(read)
                length += len(read)
                if length > self.options.max_record_bytes:
                    size, tail = _skip_line(file, length)
                    yield offset, size
                    offset += size
                    waiting, length = [tail], len(tail)
            if length:
                yield offset, b"".join(waiting)

    def _batch(self, block: bytes, offset: int, record: int, line: int) -> Batch:
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            return self._batch_by_line(block, offset, record, line)
        pieces = block.split(b"\n")
        lines = text.split("\n")
        if not lines[-1]:
            pieces.pop()
            lines.pop()
        # The start of a line is the sum of the lengths of earlier lines and their line ends.
        before = accumulate(map(len, pieces[:-1]), initial=0)
        starts: Sequence[int] = array("Q", map(add, before, count(offset)))
        numbers: Sequence[int] = range(line, line + len(lines))
        if not self.plain and "\r" not in text and (rows := self._parse_all(lines, text)):
            return Batch(record, rows, starts, numbers, lines, text)
        kept = [i for i, content in enumerate(lines) if content and not content.isspace()]
        if len(kept) < len(lines):
            starts = array("Q", (starts[i] for i in kept))
            numbers = [line + i for i in kept]
        lines = [lines[i].removesuffix("\r") for i in kept]
        rows = (
            [{"text": content} for content in lines]
            if self.plain
            else self._parse(lines, record, numbers)
        )
        return Batch(record, rows, starts, numbers, lines, text)

    def _parse_all(self, lines: list[str], block: str) -> list[Any] | None:
        """Parse lines that are all regular objects; None if a line may be something else."""
        scan, odd = self._decoder.scan, self._decoder.odd
        try:
            values = [scan(text, 0) for text in lines]
        except (ValueError, StopIteration, RecursionError):
            odd.clear()
            return None
        rows = [row for row, _ in values]
        fine = not odd and [end for _, end in values] == list(map(len, lines))
        if not fine or set(map(type, rows)) != {dict}:
            odd.clear()
            return None
        # A duplicate key counts twice in the text and once in the row.
        keys = block.count('":')
        known = keys == sum(map(len, rows)) or keys == _keys_of_pairs(rows)
        return rows if known or keys == sum(map(_keys, rows)) else None

    def _parse(self, lines: list[str], record: int, numbers: Sequence[int]) -> list[Any]:
        scan, odd = self._decoder.scan, self._decoder.odd
        rows: list[Any] = []
        for i, text in enumerate(lines):
            try:
                value, end = scan(text, 0)
                if end != len(text) and not text[end:].isspace():
                    value = self._parse_slowly(text, record + i, numbers[i])
            except (ValueError, StopIteration, RecursionError):
                value = self._parse_slowly(text, record + i, numbers[i])
            if type(value) is dict:
                if text.count('":') != _keys(value):
                    value = self._check_duplicate(value, text, record + i, numbers[i])
            elif type(value) is not Bad:
                value = self._not_object(value, text, record + i, numbers[i])
            if odd:
                value = self._out_of_range(value)
            rows.append(value)
        return rows

    def _parse_slowly(self, text: str, record: int, line: int) -> Any:
        """Parse a line with whitespace around its JSON value, or find its syntax error."""
        stripped = text.lstrip()
        indent = len(text) - len(stripped)
        try:
            value, end = self._decoder.scan(text, indent)
            if not text[end:].strip():
                return value
        except (ValueError, StopIteration, RecursionError):
            pass
        return Bad(syntax_problem(self.name, text, line=line, record=record), text)

    def _not_object(self, value: Any, text: str, record: int, line: int) -> Bad:
        what = (
            say('a string "{text}"', text=visible(value, 60))
            if isinstance(value, str)
            else show(value)
        )
        problem = Problem(
            "E122",
            self.name,
            say("record {record}: expected an object, found {what}", record=record, what=what),
            say("Write each row as an object; plain text belongs in a .txt file."),
            line=line,
            record=record,
        )
        return Bad(problem, text)

    def _check_duplicate(self, value: dict[str, Any], text: str, record: int, line: int) -> Any:
        """Return the problem of a key that appears twice, or the value."""
        odd = list(self._decoder.odd)
        twice = self._decoder.duplicate(text)
        self._decoder.odd[:] = odd
        if twice is None:
            return value
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

    def _out_of_range(self, value: Any) -> Any:
        numbers = list(self._decoder.odd)
        self._decoder.odd.clear()
        if not is_object(value):
            return value
        return OutOfRange(value, numbers)

    def _batch_by_line(self, block: bytes, offset: int, record: int, line: int) -> Batch:
        """Read a block that is not all UTF-8, decoding line by line."""
        rows: list[Any] = []
        texts: list[str] = []
        numbers: list[int] = []
        starts = array("Q")
        for piece in block.split(b"\n"):
            at, number = offset, line
            offset, line = offset + len(piece) + 1, line + 1
            if not piece.strip():
                continue
            try:
                text = piece.decode("utf-8").removesuffix("\r")
                row = {"text": text} if self.plain else self._parse([text], record, [number])[0]
            except UnicodeDecodeError as error:
                likely = guess(self.path).encodings or ("latin-1",)
                text = piece.decode(likely[0], errors="replace")
                row = Bad(self._not_utf8(piece, error, record, number), text)
            rows.append(row)
            texts.append(text)
            starts.append(at)
            numbers.append(number)
            record += 1
        return Batch(record - len(rows), rows, starts, numbers, texts, None)

    def _not_utf8(self, piece: bytes, error: UnicodeDecodeError, record: int, line: int) -> Problem:
        return not_utf8(self.name, self.path, piece, error.start, line=line, record=record)

    def _too_long(self, record: int, line: int, offset: int, size: int) -> Batch:
        problem = too_large(self.name, size, self.options, line=line, record=record)
        return Batch(record, [Bad(problem, "")], [offset], [line], [""], "")


class OutOfRange(dict[str, Any]):
    """A row with numbers out of range, as text in ``numbers``; the checker reports the field."""

    def __init__(self, row: dict[str, Any], numbers: list[str]) -> None:
        super().__init__(row)
        self.numbers = numbers


def _skip_line(file: Any, size: int) -> tuple[int, bytes]:
    """Skip the rest of a line; return its full size in bytes, and the bytes read after it."""
    while True:
        read = file.read(BLOCK_BYTES)
        end = read.find(b"\n") + 1
        if end or not read:
            return size + end, read[end:]
        size += len(read)


def _keys_of_pairs(rows: list[dict[str, Any]]) -> int:
    """Number of keys in rows, if all lists contain objects with two keys, as in messages."""
    count = sum(map(len, rows))
    for row in rows:
        for item in row.values():
            if type(item) is list:
                count += 2 * len(item)
    return count


def _keys(value: dict[str, Any]) -> int:
    """Number of keys in a row and in the objects of its lists, the usual structure of rows."""
    count = len(value)
    for item in value.values():
        if type(item) is list:
            count += sum(len(part) for part in item if type(part) is dict)
    return count


def shortened(value: Any) -> str:
    """A short description of a value for a message."""
    return f'"{visible(value, 30)}"' if isinstance(value, str) else str(show(value))
