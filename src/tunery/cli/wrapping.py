"""Prose wrapped for a terminal: at spaces, or between Chinese characters.

A terminal breaks a long line in the middle of a word. Here lines end at spaces; commands, settings
with their values, and paths are never broken, so that they can be copied whole. Wide characters
count two columns; a line neither begins with closing punctuation nor ends with opening.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_WIDE = (
    r"\u1100-\u115f\u2e80-\u303e\u3041-\u4dbf\u4e00-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uffe6"
)
_OPENING, _CLOSING = "（「『《【", "。，；：！？、）」』》】"
_WORD = r" (?!(?:to|and|or|if|for) )[!-~]*[!-~]"
_UNIT = re.compile(
    r"(?P<gap> +)"
    # A command: up to the end of the sentence, or to a word that cannot be part of a command.
    rf"|\btunery(?:{_WORD}(?<![.,;:)])(?=[ {_WIDE}]|$))*(?:{_WORD})?"
    r"|--[\w.-]+ [!-,.-~][!-~]*"
    rf"|[{_OPENING}]*(?:[{_WIDE}]|[^\s{_WIDE}]+)[{_CLOSING}]*"
)
_LEAD = re.compile(r"\s*(?:[!✓✗·→] +)?")
_EXCERPT = re.compile(r"\s*\d* ?\| ")
"""A line of a file, or the caret under it: neither means anything once it is broken."""


def wrapped(text: Text, width: int) -> Text:
    """Break a text so that no line is wider than ``width`` columns, where that can be.

    Args:
        text: Of one or more lines; its styles are kept. Further lines have the indent of the first.
        width: In columns.
    """
    return Text("\n").join(_lines(text, width))


def prose(console: Console, text: Text | str) -> None:
    """Print sentences; what is not a terminal gets them as they are."""
    text = Text(text) if isinstance(text, str) else text
    if console.is_terminal:
        text = wrapped(text, console.width)
    console.print(text, soft_wrap=True)


def _lines(text: Text, width: int) -> Iterator[Text]:
    for line in text.split("\n", allow_blank=True):
        if cell_len(line.plain) <= width or _EXCERPT.match(line.plain):
            yield line
            continue
        lead = _LEAD.match(line.plain)
        indent = cell_len(lead[0]) if lead else 0
        parts = line.divide(_breaks(line.plain, width, indent))
        for number, part in enumerate(parts):
            part.rstrip()
            yield Text(" " * indent) + part if number else part


def _breaks(line: str, width: int, indent: int) -> Iterator[int]:
    """Where further lines begin."""
    column = 0
    for unit in _UNIT.finditer(line):
        size = cell_len(unit[0])
        if unit["gap"] is None and column + size > width and column > indent:
            yield unit.start()
            column = indent
        column += size
