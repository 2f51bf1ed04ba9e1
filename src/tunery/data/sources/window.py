"""A moving window over a text file, to parse values one after another."""

from __future__ import annotations

import re
from pathlib import Path

from tunery.data.problems import FileProblem
from tunery.data.sources.base import BLOCK_BYTES
from tunery.data.sources.charset import not_utf8

SPACE = re.compile(r"[ \t\r\n]*")


class Window:
    """A moving window over a UTF-8 file: parsed text is dropped, positions are kept.

    Args:
        name: Name of the file in problems.
        path: The file.
        skip: Byte offset to start at.

    Attributes:
        text: The text in memory.
        at: Number of characters of ``text`` already used.
        byte: Byte offset of ``text[at]`` in the file.
        line: Line of ``text[at]``, from 1.
        column: Number of characters before ``text[at]`` on its line.
        ended: Whether the end of the file is reached.
    """

    def __init__(self, name: str, path: Path, skip: int) -> None:
        self.name = name
        self.path = path
        self._file = path.open("rb")
        self._file.seek(skip)
        self.text = ""
        self.at = 0
        self.byte = skip
        self.line = 1
        self.column = 0
        self._rest = b""
        self.ended = False

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def more(self) -> bool:
        """Read another block; return False at the end of the file.

        Blocks grow with the unparsed text, so that one long value is not parsed too often.

        Raises:
            FileProblem: E112, the text is not UTF-8.
        """
        if self.ended:
            return False
        read = self._file.read(max(BLOCK_BYTES, len(self.text) - self.at))
        if not read:
            self.ended = True
            if self._rest:
                self._raise_not_utf8(self._rest, 0)
            return False
        data = self._rest + read
        try:
            added, self._rest = data.decode("utf-8"), b""
        except UnicodeDecodeError as error:
            if error.start < len(data) - 3:
                self._raise_not_utf8(data, error.start)
            added, self._rest = data[: error.start].decode("utf-8"), data[error.start :]
        self.text = self.text[self.at :] + added
        self.at = 0
        return True

    def advance(self, to: int) -> None:
        """Move to character ``to`` of ``text``, counting bytes and lines."""
        piece = self.text[self.at : to]
        self.byte += len(piece) if piece.isascii() else len(piece.encode("utf-8"))
        newlines = piece.count("\n")
        self.line += newlines
        self.column = len(piece) - piece.rfind("\n") - 1 if newlines else self.column + len(piece)
        self.at = to

    def skip_space(self) -> str:
        """Skip whitespace; return the next character, ``""`` at the end of the file."""
        while True:
            match = SPACE.match(self.text, self.at)
            assert match is not None
            self.advance(match.end())
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def _raise_not_utf8(self, data: bytes, at: int) -> None:
        line = self.line + self.text[self.at :].count("\n") + data[:at].count(b"\n")
        start = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at)
        piece = data[start : end if end > 0 else at + 40]
        raise FileProblem(not_utf8(self.name, self.path, piece, at - start, line=line, record=None))
