"""Plain text rows, for continued pretraining."""

from __future__ import annotations

from tunery.data.formats.base import Columns, Row, RowOptions, text
from tunery.types import RowRef, Text


class PlainText(Columns):
    """One column ``text``; in a .txt file each line is a row."""

    name = "text"
    required = ("text",)
    known = ("text",)

    def plain(self, raw: Row, options: RowOptions) -> bool:
        """Whether the text is text and not empty."""
        value = raw.get("text") if not options.columns else None
        return type(value) is str and value != "" and not value.isspace()

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> Text:
        """Make the text."""
        column = options.column("text")
        return Text(text(self.value(raw, "text", options), column, options), ref=ref)
