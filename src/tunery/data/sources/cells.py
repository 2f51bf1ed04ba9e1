"""Clean the cells of Parquet and Arrow files of artifacts of their storage.

A table stores every key of a struct in every row and NaN for a missing number, and text may be
stored as bytes. Each kind of change is reported once per file.
"""

# pyarrow has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunery.data.problems import Problem, enumerated, say


class Cells:
    """Cleans the rows of one file.

    Args:
        file: Name of the file in problems.
        schema: The pyarrow schema of the file.
    """

    def __init__(self, file: str, schema: Any) -> None:
        from pyarrow import types

        def stored(kind: Any) -> bool:
            """Whether a type can hold values that are invalid in a row."""
            inner = (kind.field(i).type for i in range(kind.num_fields))
            return (
                types.is_struct(kind)
                or types.is_map(kind)
                or types.is_floating(kind)
                or types.is_binary(kind)
                or types.is_large_binary(kind)
                or types.is_fixed_size_binary(kind)
                or any(stored(each) for each in inner)
            )

        self._file = file
        self._columns = [f.name for f in schema if stored(f.type)]
        self._absent: dict[str, None] = {}
        self._decoded: dict[str, None] = {}

    def clean(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Clean rows in place and return them."""
        for column in self._columns:
            self._column = column
            for row in rows:
                value = row[column]
                if value is not None:
                    row[column] = self._value(value, 0)
        return rows

    @property
    def notes(self) -> Iterator[Problem]:
        """One note per kind of change made so far: N151 null keys, N152 decoded bytes."""
        if self._absent:
            yield Problem(
                "N151",
                self._file,
                say(
                    "keys without a value are treated as absent: {columns}",
                    columns=enumerated(self._absent),
                ),
            )
        if self._decoded:
            yield Problem(
                "N152",
                self._file,
                say(
                    "bytes are decoded as UTF-8 text: {columns}",
                    columns=enumerated(self._decoded),
                ),
            )

    def _value(self, value: Any, depth: int) -> Any:
        """A value without null keys and NaN; ``depth`` is the number of structs around it."""
        kind = type(value)
        if kind is dict:
            kept = {
                key: cleaned
                for key, item in value.items()
                if item is not None and (cleaned := self._value(item, depth + 1)) is not None
            }
            # Null keys are common in messages; only those in calls or schemas are reported.
            if depth and len(kept) < len(value):
                self._absent[self._column] = None
            return kept
        if kind is list and value and type(value[0]) is tuple:  # a map
            return self._value(dict(value), depth)
        if kind is list:
            return [None if item is None else self._value(item, depth) for item in value]
        if kind is float:
            return None if value != value else value
        if kind is bytes:
            return self._text(value)
        return value

    def _text(self, value: bytes) -> Any:
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            return value
        self._decoded[self._column] = None
        return text
