"""Tables that fit the terminal: unimportant columns shrink first, important ones are never cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
    widths = [
        max([cell_len(column.title), *(row[i].cell_len for row in rows)])
        for i, column in enumerate(columns)
    ]
    wanted = list(widths)
    for i, column in enumerate(columns):
        widths[i] = min(widths[i], LEAST_FILLED) if column.fills else widths[i]
    shown = list(range(len(columns)))
    for i in sorted(shown, key=lambda i: -columns[i].gives_way):
        over = sum(widths[j] + 2 * GAP for j in shown) - 2 * GAP - console.width
        if over <= 0 or not columns[i].gives_way:
            break
        if columns[i].shortens and widths[i] - over >= LEAST_WIDTH:
            widths[i] -= over
        else:
            shown.remove(i)
    left = max(0, console.width - sum(widths[j] + 2 * GAP for j in shown) + 2 * GAP)
    for i in shown:
        if columns[i].fills:
            widths[i] = min(wanted[i], widths[i] + left)
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
    table.width = sum(widths[i] + 2 * GAP for i in shown) - 2 * GAP
    return table
