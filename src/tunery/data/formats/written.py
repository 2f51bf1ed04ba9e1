"""Parse lists and objects stored as text in a cell: JSON or Python literals."""

from __future__ import annotations

import ast
import re
from typing import Any, cast

from tunery.data.formats.base import Row, RowOptions
from tunery.data.numbers import is_finite, loads
from tunery.data.problems import NOTHING, Phrase, RowProblem, say, show
from tunery.types import is_list, is_object

STARTS = re.compile(r"\s*\[\s*\{")
NUMPY = re.compile(r"\}\s+\{|^array\(")
"""NumPy's output for arrays of objects, which has no commas and cannot be parsed."""


def read_written(row: Row, options: RowOptions) -> Row:
    """Parse the columns listed in ``data.parse``; blank cells are unchanged.

    Raises:
        RowProblem: E407, a cell is not in the configured notation.
    """
    if not options.parse:
        return row
    changed = dict(row)
    for column, how in options.parse.items():
        value = row.get(column)
        if isinstance(value, str) and value.strip():
            changed[column] = _read(value, column, how)
    return changed


def parsed(value: Any, column: str, options: RowOptions) -> Any:
    """Parse a column that must be a list, if ``data.parse`` gives its notation.

    Raises:
        RowProblem: E407 a list in text without or in another notation than configured; E304 other
            text.
    """
    if not isinstance(value, str):
        return value
    how = options.parse.get(column)
    if how is not None:
        return _read(value, column, how)
    if value.lstrip()[:1] in ("[", "{") or NUMPY.search(value):
        raise RowProblem("E407", column, *_advice(value, column))
    raise RowProblem(
        "E304",
        column,
        say("field {field}: expected a list, found {what}", field=column, what=show(value)),
        NOTHING,
    )


def check_no_messages(value: Any, column: str) -> None:
    """Check that a text is not a list of messages, which would be trained as plain text.

    Raises:
        RowProblem: E407, it is.
    """
    if not isinstance(value, str) or not STARTS.match(value):
        return
    turns = _json(value) or _python(value)
    first: Any = turns[0] if is_list(turns) and turns else None
    if is_object(first) and {"role", "from"} & first.keys():
        raise RowProblem("E407", column, *_advice(value, column))


def _advice(value: str, column: str) -> tuple[Phrase, Phrase]:
    """The notation of a text, and the setting to parse it."""
    if _json(value) is not None:
        return (
            say("field {field} is text that contains a JSON list", field=column),
            say("Set --data.parse.{column} json.", column=column),
        )
    if _python(value) is not None:
        return (
            say("field {field} is text that contains a list as Python prints it", field=column),
            say("Set --data.parse.{column} python.", column=column),
        )
    if NUMPY.search(value):
        return (
            say("field {field} is a NumPy array printed as text, without commas", field=column),
            say("Export the file again as Parquet or JSON Lines: this text cannot be parsed."),
        )
    return (
        say("field {field} is text that is neither JSON nor a Python list", field=column),
        say("Write it as JSON, or remove the row."),
    )


def _read(value: str, column: str, how: str) -> Any:
    found = _json(value) if how == "json" else _python(value)
    if found is not None:
        return found
    wrong = (
        say("field {field} is not JSON", field=column)
        if how == "json"
        else say("field {field} is not a Python list or dict", field=column)
    )
    other = _python(value) if how == "json" else _json(value)
    if other is not None or NUMPY.search(value):
        wrong, fix = _advice(value, column)
    else:
        fix = say("Correct the text in this row.")
    raise RowProblem("E407", column, wrong, fix)


def _json(text: str) -> Any:
    try:
        return loads(text)
    except (ValueError, RecursionError):
        return None


def _python(text: str) -> Any:
    """Parse Python literals without running code; None if the text is something else."""
    try:
        value = _plain(ast.literal_eval(text.strip()))
        return value if is_finite(value) else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    """Convert tuples to lists."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    if is_object(value):
        return {key: _plain(item) for key, item in value.items()}
    return value
