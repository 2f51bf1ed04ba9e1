"""Tokens in a terminal: which ones are trained on, and the sides of a pair next to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from tunery.cli.console import out
from tunery.cli.wrapping import prose
from tunery.data.letters import grouped
from tunery.env import percent
from tunery.i18n import joined, t

if TYPE_CHECKING:
    from tunery.data.preview import ExamplePreview, RowPreview

WIDE = 100


def show_row(row: RowPreview, *, boundaries: bool) -> None:
    """Print a row and how many of its tokens are trained on."""
    out.print(colored(row, boundaries=boundaries))
    prose(out, Text(_counts(row), "bold"))


def show_sides(example: ExamplePreview, *, boundaries: bool) -> None:
    """Print the shared beginning once, then the sides: next to each other if there is space."""
    shared = example.shared
    first = example.rows[0]
    if shared:
        prose(out, Text(t("Shared prompt, {n} tokens:", n=f"{shared:,}"), "cyan"))
        out.print(colored(first, boundaries=boundaries, end=shared))
        out.print()
    rows = list(zip(example.sides, example.rows, strict=True))
    if out.width < WIDE:
        for name, row in rows:
            prose(out, Text(f"{name.local()} · {_counts(row)}", "bold"))
            out.print(colored(row, boundaries=boundaries, start=shared))
            out.print()
        return
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, header_style="bold")
    for name, row in rows:
        table.add_column(f"{name.local()} · {_counts(row)}", ratio=1, overflow="fold")
    table.add_row(*(colored(row, boundaries=boundaries, start=shared) for _, row in rows))
    out.print(table)


def _counts(row: RowPreview) -> str:
    trained, total = sum(row.loss_mask), len(row.input_ids)
    counts = t(
        "{trained} of {total} tokens are trained ({share}).",
        trained=f"{trained:,}",
        total=f"{total:,}",
        share=percent(trained / max(total, 1)),
    )
    cut = t("{cut} tokens are truncated.", cut=f"{row.cut:,}") if row.cut else ""
    return joined(counts, cut)


def colored(row: RowPreview, *, boundaries: bool, start: int = 0, end: int | None = None) -> Text:
    """A row's tokens: trained ones marked, control tokens boxed.

    Args:
        row: The row.
        boundaries: Draw a line between tokens; tokens that encode one character stay together.
        start: The first token to show.
        end: The first token after those to show.
    """
    text, plain = Text(), not out.is_terminal or out.no_color
    before = False
    tokens = list(zip(row.input_ids, row.tokens, row.loss_mask, row.special, strict=True))
    for piece in grouped(tokens[start:end], start=start):
        trained, special = piece["trained"], piece["special"]
        if plain and trained != before:
            text.append("⟦" if trained else "⟧")
        elif boundaries and text:
            text.append("│", style="bright_black")
        before = trained
        style = "green underline" if trained else ""
        if special:
            style = "bold green on grey23" if trained else "bold white on grey23"
        text.append(_visible(piece["text"]), style=style)
    if plain and before:
        text.append("⟧")
    return text


def _visible(token: str) -> str:
    """Show where a line breaks, and control characters by their Unicode names."""
    if token in ("\n", "\n\n"):
        return "↵\n" * len(token)
    return "".join(
        letter if letter in "\n\t" or letter.isprintable() else f"<U+{ord(letter):04X}>"
        for letter in token
    )
