"""Tables that fit the terminal: unimportant columns shrink first, important ones are never cut.

``listed`` loses nothing: what does not fit next to the important columns is written below them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tunery.cli.wrapping import wrapped

GAP = 1
LEAST_FILLED = 16
"""Minimum width of a wrapped column."""
LEAST_WIDTH = 8
"""Minimum width of a shortened column; below it, the column is dropped."""


@dataclass(frozen=True)
class Column:
    """A column of a list.

    Args:
        title: Its heading.
        gives_way: 0 for one that is never cut; else the order in which columns are shortened or
            dropped, highest number first.
        shortens: Whether it is shortened (with an ellipsis) before it is dropped.
        fills: Whether it takes the remaining width and is wrapped.
        right: Whether its values are right-aligned.
    """

    title: str
    gives_way: int = 0
    shortens: bool = False
    fills: bool = False
    right: bool = False


def fitted(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> Table:
    """A table of the console's width; if the columns that are never cut are wider, lines overflow.

    Args:
        console: Where it will be printed.
        columns: The columns.
        rows: One text per column.
    """
    widths = _widths(columns, rows)
    wanted = list(widths)
    for i, column in enumerate(columns):
        widths[i] = min(widths[i], LEAST_FILLED) if column.fills else widths[i]
    shown = list(range(len(columns)))
    for i in sorted(shown, key=lambda i: -columns[i].gives_way):
        over = _room(widths, shown) - console.width
        if over <= 0 or not columns[i].gives_way:
            break
        if columns[i].shortens and widths[i] - over >= LEAST_WIDTH:
            widths[i] -= over
        else:
            shown.remove(i)
    left = max(0, console.width - _room(widths, shown))
    for i in shown:
        if columns[i].fills:
            widths[i] = min(wanted[i], widths[i] + left)
    return _table(columns, rows, shown, widths)


def listed(
    console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Text]]
) -> RenderableType:
    """A table for a terminal in which no value is cut; anywhere else, the one of ``fitted``.

    Values of columns that do not fit follow on a dim line below their row. If the columns that are
    never cut do not fit either, the first one has a line of its own.

    Args:
        console: Where it will be printed.
        columns: The columns; the first one is never cut.
        rows: One text per column.
    """
    widths = _widths(columns, rows)
    shown = list(range(len(columns)))
    if not console.is_terminal or _room(widths, shown) <= console.width:
        return fitted(console, columns, rows)
    kept = [i for i in shown if not columns[i].gives_way]
    alone = _room(widths, kept) > console.width
    indent = 2 * GAP if alone else 0
    beside = _beside(columns, widths, shown[1:] if alone else shown, console.width - indent)
    below = [i for i in shown if i not in beside and not (alone and i == 0)]
    parts: list[RenderableType] = [Text(columns[0].title, style="bold")] if alone else []
    head = _table(columns, (), beside, widths)
    parts.append(Padding(head, (0, 0, 0, indent), expand=False))
    for row in rows:
        if alone:
            parts.append(row[0])
        line = _table(columns, [row], beside, widths)
        line.show_header = False
        parts.append(Padding(line, (0, 0, 0, indent), expand=False))
        more = " · ".join(filter(None, (_named(columns[i], row[i]) for i in below)))
        if more:
            parts.append(wrapped(Text(" " * 2 * GAP + more, style="dim"), console.width))
    return Group(*parts)


def _beside(
    columns: Sequence[Column], widths: Sequence[int], those: Sequence[int], width: int
) -> list[int]:
    """The columns that fit into one line, the important ones first."""
    shown = list(those)
    for i in sorted(those, key=lambda i: -columns[i].gives_way):
        if _room(widths, shown) <= width or not columns[i].gives_way:
            break
        shown.remove(i)
    return shown


def _named(column: Column, value: Text) -> str:
    """A value away from its column: a number says what it is; empty if there is none."""
    if value.plain in ("", "–"):
        return ""
    return f"{column.title} {value.plain}" if column.right else value.plain


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> list[int]:
    return [
        max([cell_len(column.title), *(row[i].cell_len for row in rows)])
        for i, column in enumerate(columns)
    ]


def _room(widths: Sequence[int], shown: Sequence[int]) -> int:
    """The width of a table with some of the columns."""
    return sum(widths[i] + 2 * GAP for i in shown) - 2 * GAP


def _table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Text]],
    shown: Sequence[int],
    widths: Sequence[int],
) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2 * GAP, 0, 0), header_style="bold")
    for i in shown:
        table.add_column(
            columns[i].title,
            justify="right" if columns[i].right else "left",
            no_wrap=not columns[i].fills,
            overflow="fold" if columns[i].fills else "ellipsis",
            width=widths[i],
        )
    for row in rows:
        table.add_row(*(row[i] for i in shown))
    table.width = _room(widths, shown)
    return table
