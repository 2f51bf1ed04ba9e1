"""The delimiter of a CSV or TSV file: configured, or detected from the first lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunery.errors import ConfigError
from tunery.i18n import t

CANDIDATES = (",", ";", "\t", "|")
NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
SAMPLE_BYTES = 64 * 1024
SAMPLE_ROWS = 20
ALIKE = 0.8
"""Fraction of the first rows that must have as many cells as the header."""
DECLARED = re.compile(rb'"?sep=(.)"?\r?\n')
"""A first line for Excel that declares the delimiter; it is not a row."""


@dataclass(frozen=True, slots=True)
class Found:
    """A delimiter, and the length of the line that declares it, in bytes."""

    delimiter: str
    skip: int = 0


def find_delimiter(path: Path, skip: int, usual: str, given: str | None) -> Found:
    """Find the delimiter of a file.

    Args:
        path: The file, in UTF-8.
        skip: Length of a byte-order mark to skip, in bytes.
        usual: The usual delimiter of this type of file; used if the header contains it.
        given: The configured delimiter, which takes precedence; None to detect it.

    Raises:
        ConfigError: The configured delimiter is not valid.
    """
    with path.open("rb") as file:
        file.seek(skip)
        head = file.read(SAMPLE_BYTES)
    declared = DECLARED.match(head)
    if declared is not None:
        head = head[declared.end() :]
        mark = declared[1].decode("latin-1")
        return Found(checked(given) if given is not None else mark, declared.end())
    if given is not None:
        return Found(checked(given))
    lines = _lines(head)
    if len(_rows(lines[:1], usual)[0] if lines else ()) > 1:
        return Found(usual)
    fitting = [(_fit(lines, each), each) for each in CANDIDATES if each != usual]
    cells, best = max(fitting, key=lambda each: each[0])
    return Found(best if cells > 1 else usual)


def checked(given: str) -> str:
    """The delimiter for a value of ``data.delimiter``.

    Raises:
        ConfigError: The value is not a single character, or not a possible delimiter.
    """
    delimiter = NAMES.get(given, given)
    if len(delimiter) != 1 or delimiter in '"\r\n\x00 ':
        raise ConfigError(
            t("data.delimiter: {given!r} is not a valid delimiter.", given=given),
            fix=t("Give one character, such as ; or |, or the word tab."),
        )
    return delimiter


def spelled(delimiter: str) -> str:
    """A delimiter as text for display."""
    return "tab" if delimiter == "\t" else delimiter


def _lines(head: bytes) -> list[str]:
    """The first lines; only complete ones if there is more than one."""
    text = head.decode("utf-8", errors="replace")
    lines = text.splitlines(keepends=True)
    return lines[:-1] if len(head) == SAMPLE_BYTES and len(lines) > 1 else lines


def _rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    try:
        rows = csv.reader(lines, delimiter=delimiter)
        return [row for row, _ in zip(rows, range(SAMPLE_ROWS), strict=False)] or [[]]
    except csv.Error:
        return [[]]


def _fit(lines: Sequence[str], delimiter: str) -> int:
    """Number of cells in the header if most rows have as many, otherwise 0."""
    header, *rows = _rows(lines, delimiter)
    rows = [row for row in rows if row]
    alike = sum(len(row) == len(header) for row in rows)
    return len(header) if not rows or alike >= ALIKE * len(rows) else 0
