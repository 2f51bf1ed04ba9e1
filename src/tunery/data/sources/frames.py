"""Tables stored as one JSON object, as written by pandas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunery.data.problems import Problem, say
from tunery.data.sources.base import Batch
from tunery.types import is_list, is_object

BATCH_ROWS = 2_000


def rows_of(value: Mapping[str, Any], name: str) -> tuple[list[dict[str, Any]], Problem] | None:
    """The rows of an object that is clearly a table, and a note about its layout (N120).

    Args:
        value: The object.
        name: Name of the file in problems.

    Returns:
        None if the object is not clearly a table.
    """
    if not value:
        return None
    parts = list(value.values())
    if set(value) == {"columns", "index", "data"} and all(is_list(part) for part in parts):
        names, rows = value["columns"], value["data"]
        if all(is_list(row) and len(row) == len(names) for row in rows):
            made = [dict(zip(map(str, names), row, strict=True)) for row in rows]
            return made, Problem(
                "N120", name, say("a table written by pandas with orient=split, read as rows")
            )
    objects = [part for part in parts if is_object(part)]
    if len(objects) == len(parts):
        if all(key.isdigit() for key in value):
            return objects, Problem(
                "N120", name, say("an object of rows keyed by number, read as rows")
            )
        keys = objects[0].keys()
        if keys and all(key.isdigit() for key in keys) and all(o.keys() == keys for o in objects):
            made = [{title: column[key] for title, column in value.items()} for key in keys]
            return made, Problem(
                "N120", name, say("an object of columns keyed by row number, read as rows")
            )
    lists = [part for part in parts if is_list(part)]
    alike = len(lists) == len(parts) > 1 and len({len(part) for part in lists}) == 1
    if alike and lists[0] and all(isinstance(item, str) for part in lists for item in part):
        made = [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
        return made, Problem("N120", name, say("an object of columns, read as rows"))
    return None


class MemoryRows:
    """A source whose rows are in memory; the start of a record is its index, from 0.

    Args:
        name: Name of the file in problems.
        path: The file they are from.
        rows: The rows.
        note: A note about the layout of the file.
    """

    columns: tuple[str, ...] | None = None
    is_table = True

    def __init__(
        self, name: str, path: Path, rows: Sequence[dict[str, Any]], note: Problem
    ) -> None:
        self.name = name
        self.path = path
        self.rows = rows
        self.notes: tuple[Problem, ...] = (note,)

    def batches(self) -> Iterator[Batch]:
        """Yield the rows in batches."""
        for at in range(0, len(self.rows), BATCH_ROWS):
            part = list(self.rows[at : at + BATCH_ROWS])
            yield Batch(at + 1, part, range(at, at + len(part)), None)

    def load(self, start: int) -> Any:
        """Return row ``start``."""
        return self.rows[start]
