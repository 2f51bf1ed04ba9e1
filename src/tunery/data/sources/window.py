"""A moving piece of a text file, for values that are read one after another."""

from __future__ import annotations

import re
from pathlib import Path

from tunery.data.problems import FileProblem
from tunery.data.sources.base import BLOCK_BYTES
from tunery.data.sources.charset import not_utf8

SPACE = re.compile(r"[ \t\r\n]*")


class Window:
    """A moving piece of a text file: what is parsed is dropped, positions are kept."""

    def __init__(self, name: str, path: Path, skip: int) -> None:
        self.name = name
        self.path = path
        self._file = path.open("rb")
        self._file.seek(skip)
        self.text = ""
        self.at = 0  # characters of text already used
        self.byte = skip  # byte offset of text[at]
        self.line = 1
        self.column = 0  # characters before text[at] on its line
        self._rest = b""
        self.ended = False

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def more(self) -> bool:
        """Read another block; False at the end of the file.

        Blocks grow with what is waiting for its end, so that one value is not parsed too often.
        """
        if self.ended:
            return False
        read = self._file.read(max(BLOCK_BYTES, len(self.text) - self.at))
        if not read:
            self.ended = True
            if self._rest:
                self._foreign(self._rest, 0)
            return False
        data = self._rest + read
        try:
            added, self._rest = data.decode("utf-8"), b""
        except UnicodeDecodeError as error:
            if error.start < len(data) - 3:
                self._foreign(data, error.start)
            added, self._rest = data[: error.start].decode("utf-8"), data[error.start :]
        self.text = self.text[self.at :] + added
        self.at = 0
        return True

    def advance(self, to: int) -> None:
        """Move on to character ``to`` of the text, counting bytes and lines."""
        piece = self.text[self.at : to]
        self.byte += len(piece) if piece.isascii() else len(piece.encode("utf-8"))
        newlines = piece.count("\n")
        self.line += newlines
        self.column = len(piece) - piece.rfind("\n") - 1 if newlines else self.column + len(piece)
        self.at = to

    def skip_space(self) -> str:
        """Pass over white space; give the next character, ``""`` at the end."""
        while True:
            match = SPACE.match(self.text, self.at)
            assert match is not None
            self.advance(match.end())
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def _foreign(self, data: bytes, at: int) -> None:
        line = self.line + self.text[self.at :].count("\n") + data[:at].count(b"\n")
        start = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at)
        piece = data[start : end if end > 0 else at + 40]
        raise FileProblem(not_utf8(self.name, self.path, piece, at - start, line=line, record=None))
