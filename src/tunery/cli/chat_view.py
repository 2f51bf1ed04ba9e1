"""Answers on a terminal: streamed one after the other, or in two columns; always sanitized."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunery.cli.console import out
from tunery.i18n import t
from tunery.services.chat import Chat, Said

COLUMNS_FROM = 100
STYLES = ("bold cyan", "bold magenta")
# A model's output may contain anything that its training data contained: no character may move the
# cursor, change colours, set the title or reorder the line. Shown as Unicode's control pictures.
_HARMLESS = {code: chr(0x2400 + code) for code in range(0x20) if code not in (0x09, 0x0A)}
_HARMLESS |= {0x0D: "", 0x7F: "\u2421"}
_HARMLESS |= dict.fromkeys(range(0x80, 0xA0), "\ufffd")
_HARMLESS |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "")


def harmless(text: str) -> str:
    """Remove everything from a text that a terminal would interpret."""
    return text.translate(_HARMLESS)


class View(AbstractContextManager["View"], Protocol):
    """Shows the answers to one question as they arrive."""

    def start(self, place: int) -> None:
        """The speaker at this index starts."""

    def text(self, place: int, piece: str) -> None:
        """Append text to the answer."""


class Plain:
    """One answer after the other, as a stream.

    Args:
        labels: Labels of the speakers; shown if there are two.
        write: Called with the text.
        safe: Sanitize the text for a terminal.
    """

    def __init__(
        self, labels: Sequence[str], *, write: Callable[[str], object] | None = None,
        safe: bool = True,
    ) -> None:  # fmt: skip
        self._labels = labels
        self._write = write or _to_stdout
        self._safe = safe
        self._open = False

    def __enter__(self) -> Plain:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_line()

    def start(self, place: int) -> None:
        """Start an answer, under a heading if there are two speakers."""
        self._end_line()
        if len(self._labels) > 1:
            if place:
                self._write("\n")
            if self._safe:
                out.print(Text(self._labels[place], style=STYLES[place % len(STYLES)]))
            else:
                self._write(f"## {self._labels[place]}\n")
        self._open = True

    def text(self, place: int, piece: str) -> None:
        """Write a piece of text immediately."""
        self._write(harmless(piece) if self._safe else piece)

    def _end_line(self) -> None:
        if self._open:
            self._write("\n")
        self._open = False


class Columns:
    """Answers side by side, redrawn as they grow.

    Args:
        labels: Labels of the speakers.
        console: The console to draw on; a wide terminal.
    """

    def __init__(self, labels: Sequence[str], *, console: Console = out) -> None:
        self._labels = labels
        self._console = console
        self._texts = [""] * len(labels)
        self._live = Live(console=console, refresh_per_second=8, vertical_overflow="crop")

    def __enter__(self) -> Columns:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.update(self._table(None))
        self._live.stop()

    def start(self, place: int) -> None:
        """Start an answer; its column already exists."""
        self._live.update(self._table(self._room()))

    def text(self, place: int, piece: str) -> None:
        """Append text to a column."""
        self._texts[place] += harmless(piece)
        self._live.update(self._table(self._room()))

    def _room(self) -> int:
        return max(self._console.height - 4, 4)

    def _table(self, rows: int | None) -> Group:
        """Draw the columns; with ``rows``, only as much of their ends as fits on the screen."""
        width = (self._console.width - 3 * (len(self._labels) - 1)) // len(self._labels)
        table = Table.grid(padding=(0, 3, 0, 0), expand=False)
        cells: list[Text] = []
        for place, (label, text) in enumerate(zip(self._labels, self._texts, strict=True)):
            table.add_column(width=width, overflow="fold")
            cell = Text(text)
            if rows is not None:
                lines = cell.wrap(self._console, width)
                cell = Text("\n").join(lines[-rows:])
            cells.append(Text.assemble((label, STYLES[place % len(STYLES)]), "\n", cell))
        table.add_row(*cells)
        return Group(table)


def view_for(labels: Sequence[str]) -> View:
    """Columns for two speakers on a wide terminal, else a plain stream."""
    if len(labels) > 1 and out.is_terminal and out.width >= COLUMNS_FROM:
        return Columns(labels)
    return Plain(labels)


def footer(said: Sequence[Said], *, commands: bool) -> Text:
    """How the answers ended and their speed, in one dim line.

    Args:
        said: The answers.
        commands: Whether a conversation goes on, in which commands such as ``/max`` work.
    """
    parts: list[str] = []
    for answer in said:
        reply = answer.reply
        words = t("{count} tokens, {rate} tokens/s", count=len(reply.ids),
                  rate=f"{reply.tokens_per_second:.1f}")  # fmt: skip
        if reply.ending == "length":
            words += "; " + (
                t("cut off at the limit (/max N for more)")
                if commands
                else t("cut off at the limit (--max-new-tokens for more)")
            )
        elif reply.ending == "interrupted":
            words += "; " + t("stopped")
        parts.append(words if len(said) == 1 else f"{answer.label}: {words}")
    return Text("  |  ".join(parts), style="dim")


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def heading(session: Chat) -> Text:
    """The speakers and how answers are sampled."""
    names = Text(" | ").join([Text(s.label, style="bold cyan") for s in session.speakers])
    sampling = session.settings.sampling
    how = (
        t("greedy")
        if sampling.greedy
        else t("temperature {value}, seed {seed}", value=f"{sampling.temperature:g}",
               seed=sampling.seed)
    )  # fmt: skip
    return Text.assemble(names, (f"  {how}. ", "dim"), (t("/help lists the commands."), "dim"))
