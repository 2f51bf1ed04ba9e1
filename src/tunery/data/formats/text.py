"""Plain text rows, for continued pretraining."""

from __future__ import annotations

from collections.abc import Callable

from tunery.data.formats.base import Columns, Row, RowOptions, text
from tunery.types import RowRef, Text


class PlainText(Columns):
    """One column ``text``; in a .txt file each line is a row."""

    name = "text"
    makes = Text
    required = ("text",)
    known = ("text",)

    def plain(self, options: RowOptions) -> Callable[[Row], bool]:
        """Test whether the text is a string and not blank."""
        column = options.column("text")

        def test(row: Row) -> bool:
            value = row.get(column)
            return type(value) is str and value != "" and not value.isspace()

        return test

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> Text:
        """Convert a row to a text."""
        column = options.column("text")
        return Text(text(self.value(raw, "text", options), column, options), ref=ref)
