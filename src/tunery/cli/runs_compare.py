"""`tunery runs compare`: settings that differ, curves and results of several runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tunery.cli.console import out, print_json
from tunery.cli.wrapping import prose
from tunery.env import human_bytes
from tunery.i18n import t
from tunery.measures import LOSS
from tunery.services import runs, words

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40
"""Columns of a curve."""


def compare(names: Sequence[str], *, as_json: bool) -> None:
    """Show runs side by side.

    Args:
        names: Two to six runs.
        as_json: Print one JSON object.

    Raises:
        RunError: There are fewer or more, or one does not exist.
    """
    found = runs.compare(names)
    if as_json:
        print_json(runs.comparison_as_dict(found))
        return
    titles = [row.state.name for row in found.runs]
    _title(t("Settings that differ"))
    if found.differing:
        out.print(
            _grid(
                titles,
                [(line.path, [Text(v or "–") for v in line.values]) for line in found.differing],
            )
        )
    else:
        prose(out, t("All settings are the same."))
    _title(t("Results"))
    out.print(_grid(titles, [(line.label, _values(line)) for line in found.results], right=True))
    _title(t("Training loss"))
    _curves(titles)


def _title(text: str) -> None:
    out.print()
    out.print(Text(text, style="bold"))


def _grid(
    titles: Sequence[str], lines: Sequence[tuple[str, Sequence[Text]]], *, right: bool = False
) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("", style="dim", overflow="fold")
    for title in titles:
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for label, values in lines:
        table.add_row(Text(label), *values)
    return table


def _values(line: runs.ResultLine) -> list[Text]:
    return [
        Text(
            "–" if value is None else _shown(line, value),
            style="green" if place in line.best else "",
        )
        for place, value in enumerate(line.values)
    ]


def _shown(line: runs.ResultLine, value: float) -> str:
    match line.unit:
        case "seconds":
            return words.seconds(value)
        case "bytes":
            return human_bytes(int(value))
        case "count":
            return f"{value:,.0f}"
        case "number":
            return line.shown(value)


def _curves(titles: Sequence[str]) -> None:
    """The training losses on one scale, drawn with blocks."""
    series = [runs.loss_curve(title, WIDTH) for title in titles]
    every = [value for losses in series for value in losses]
    if not every:
        prose(out, t("No steps yet."))
        return
    low, high = min(every), max(every)
    table = Table.grid(padding=(0, 2))
    for title, losses in zip(titles, series, strict=True):
        span = f"{LOSS.shown(losses[0])} → {LOSS.shown(losses[-1])}" if losses else "–"
        table.add_row(Text(title), Text(bars(losses, low, high), style="cyan"), Text(span))
    out.print(table)
    prose(out, Text(t("All on one scale, from {low} to {high}.", low=LOSS.shown(low),
                      high=LOSS.shown(high)), style="dim"))  # fmt: skip


def bars(values: Sequence[float], low: float, high: float) -> str:
    """Values as blocks whose height is their place between two limits."""
    spread = (high - low) or 1.0
    return "".join(BARS[round((value - low) / spread * (len(BARS) - 1))] for value in values)
