"""Shared parts of all formats: row options, column lookup, and reading of fields with checks."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

from tunery.data.numbers import CELLS, dumps, is_finite, spelled
from tunery.data.problems import NOTHING, Phrase, RowProblem, column_name, say, show
from tunery.types import Conversation, Example, Labelled, Message, Pair, RowRef

Row = dict[str, Any]
UNREAD = "\0unread"  # name of a column that is not read; no row has it


@dataclass(frozen=True, slots=True)
class RowOptions:
    """The ``data`` settings that determine how the rows of one dataset are read.

    Args:
        columns: Our field name -> column in the data, if they differ.
        tags: ShareGPT tags of a LLaMA-Factory registry (role_tag, user_tag, ...).
        role_map: Role in the data -> our role.
        parse: Columns that store a list or object as text -> its notation, json or python.
        coerce: Columns whose other values become text -> how, text or json.
        allow_empty: Columns that may be empty.
        merge_same_role: Whether to merge adjacent messages with the same role.
        only_named: Whether columns are configured, so that no others are read.
    """

    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    role_map: Mapping[str, str] = field(default_factory=dict[str, str])
    parse: Mapping[str, str] = field(default_factory=dict[str, str])
    coerce: Mapping[str, str] = field(default_factory=dict[str, str])
    allow_empty: tuple[str, ...] = ()
    merge_same_role: bool = False
    only_named: bool = False

    def column(self, name: str) -> str:
        """The column in the data for one of our field names."""
        return self.columns.get(name, name)


class Format(Protocol):
    """Converts rows of one format to examples."""

    @property
    def name(self) -> str:
        """The name in ``data.format``."""
        ...

    @property
    def makes(self) -> type[Example]:
        """The type of its examples."""
        ...

    @property
    def required(self) -> tuple[str, ...]:
        """Our names of the columns that a row of this format must have."""
        ...

    @property
    def known(self) -> tuple[str, ...]:
        """Our names of every column the format reads."""
        ...

    @property
    def usual(self) -> Mapping[str, tuple[str, ...]]:
        """Our column names -> alternative names that are detected automatically."""
        ...

    def kept(self, declared: Container[str]) -> tuple[str, ...]:
        """Columns that are read under their own name even if only other columns are configured."""
        ...

    def score(self, raw: Row, options: RowOptions) -> float:
        """How well a row matches this format, from 0 to 1; detection chooses the best format."""
        ...

    def plain(self, options: RowOptions) -> Callable[[Row], bool]:
        """A fast test for rows that are certainly valid.

        If it returns False, the row may still be valid; only ``convert`` can tell.
        """
        ...

    def instead(self, raw: Row, options: RowOptions) -> Phrase:
        """Advice how to read the row as a single answer; empty if it already is one."""
        ...

    def unread(self, raw: Row, options: RowOptions, example: Example) -> Iterable[str]:
        """Our names of known columns that were not used for the example."""
        ...

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> Example:
        """Convert a row to an example.

        Args:
            raw: The row as read from the file.
            options: How rows are read.
            ref: Where the row comes from.

        Raises:
            RowProblem: The row cannot be used.
        """
        ...


def never(row: Row) -> bool:
    """The ``plain`` test of a format whose rows must all be converted."""
    return False


def both_texts(first: str, second: str, others: tuple[str, ...]) -> Callable[[Row], bool]:
    """Make a test that two columns are strings, not blank, and that other columns are absent."""

    def test(row: Row) -> bool:
        a, b = row.get(first), row.get(second)
        if type(a) is not str or type(b) is not str or not a or not b:
            return False
        if a.isspace() or b.isspace():
            return False
        return len(row) == 2 or not any(name in row for name in others)

    return test


class Columns:
    """Base class of formats that read named columns."""

    name = ""
    makes: type[Example] = Conversation
    required: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    usual: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    def kept(self, declared: Container[str]) -> tuple[str, ...]:
        """The required columns."""
        return self.required

    def score(self, raw: Row, options: RowOptions) -> float:
        """1 if all required columns are present, minus 0.05 per unknown column; otherwise 0."""
        if any(options.column(name) not in raw for name in self.required):
            return 0.0
        theirs = {options.column(name) for name in self.known}
        return 1.0 - 0.05 * min(8, sum(key not in theirs for key in raw))

    def instead(self, raw: Row, options: RowOptions) -> Phrase:
        """Empty: the rows are single answers."""
        return NOTHING

    def unread(self, raw: Row, options: RowOptions, example: Example) -> Iterable[str]:
        """The column ``system`` if the messages begin with another system message."""
        system = raw.get(options.column("system"))
        if "system" not in self.known or not isinstance(system, str) or not system.strip():
            return ()
        first = next(iter(_messages(example)), None)
        same = first is not None and first.role == "system" and first.content.strip() in system
        return () if same else ("system",)

    def value(self, raw: Row, name: str, options: RowOptions) -> Any:
        """The value of one of our columns.

        Raises:
            RowProblem: E301, the column is missing.
        """
        column = options.column(name)
        if column not in raw:
            raise missing(column, raw, self, options)
        return raw[column]


def _messages(example: Example) -> tuple[Message, ...]:
    match example:
        case Conversation():
            return example.messages
        case Pair():
            return example.prompt.messages
        case Labelled():
            return example.conversation.messages
        case _:
            return ()


def with_usual(format: Format, present: Container[str], options: RowOptions) -> RowOptions:
    """Find columns that are not configured by their alternative names.

    Args:
        format: Format of the rows.
        present: Columns of the rows.
        options: The configuration.
    """
    found = dict(options.columns)
    for ours, names in format.usual.items():
        if ours not in found and ours not in present:
            theirs = next((name for name in names if name in present), None)
            if theirs is not None:
                found[ours] = theirs
    return options if found == options.columns else replace(options, columns=found)


def read_columns(format: Format, present: Container[str], options: RowOptions) -> RowOptions:
    """Resolve the columns: if any are configured, read only these and the required ones.

    Args:
        format: Format of the rows.
        present: Columns of the rows.
        options: The configuration; without columns, own and alternative names are used.
    """
    found = with_usual(format, present, options)
    if not options.columns:
        return found
    kept = {*found.columns, *format.kept(options.columns)}
    unread = {ours: UNREAD for ours in format.known if ours not in kept}
    return replace(found, columns={**found.columns, **unread}, only_named=True)


def missing(column: str, raw: Row, format: Format | Columns, options: RowOptions) -> RowProblem:
    """Make E301 for a missing column, naming a key that is probably a misspelling of it."""
    theirs = {options.column(name) for name in format.known}
    foreign = [str(key) for key in raw if key not in theirs]
    near = difflib.get_close_matches(column, foreign, n=1, cutoff=0.7)
    if near:
        return RowProblem(
            "E301",
            column,
            say(
                "field {field} is missing; there is an unknown key {key}",
                field=column,
                key=column_name(near[0]),
            ),
            say(
                "Did you mean {field}? Rename {key} in this row.",
                field=column,
                key=column_name(near[0]),
            ),
        )
    return RowProblem(
        "E301",
        column,
        say("field {field} is missing", field=column),
        say("Add {field}, or remove the row.", field=column),
    )


def text(
    value: Any, column: str, options: RowOptions, *, place: str = "", is_prompt: bool = False
) -> str:
    """Read a text field.

    Args:
        value: The value in the row.
        column: Name of the column in the data, for ``allow_empty`` and ``coerce``.
        options: How rows are read.
        place: Path of the field if it is not the column itself.
        is_prompt: Whether the text is part of the prompt instead of the answer.

    Raises:
        RowProblem: E302 empty, E303 null, E304 not text.
    """
    where = place or column
    if not isinstance(value, str):
        value = coerced(value, where, options.coerce.get(column), column)
    if not value.strip() and column not in options.allow_empty:
        what = (
            say("field {field} is only whitespace", field=where)
            if value
            else say("field {field} is empty", field=where)
        )
        raise RowProblem(
            "E302",
            where,
            what,
            say(
                "The prompt would be empty. Fill it in, remove the row, or allow it with "
                "--data.allow_empty {column}.",
                column=column,
            )
            if is_prompt
            else say(
                "The model would learn to say nothing. Remove the row, or allow it with "
                "--data.allow_empty {column}.",
                column=column,
            ),
        )
    return value


def coerced(value: Any, where: str, how: str | None, column: str) -> str:
    """Convert a value that is not text to text if the configuration requests it.

    Raises:
        RowProblem: E303 null, E304 anything else that is not text.
    """
    if value is None:
        raise RowProblem(
            "E303",
            where,
            say("field {field} is null", field=where),
            say("Write the content, or remove the row.")
            if where.endswith(".content")
            else say("Write the text, or remove the row."),
        )
    if not is_finite(value):
        raise out_of_range(where)
    if how == "text" and isinstance(value, float):
        return spelled(value)
    if how == "json":
        return dumps(value)
    if how == "text" and isinstance(value, bool | int):
        return json.dumps(value)
    if how == "text" and isinstance(value, CELLS):
        return str(value)
    if isinstance(value, bytes):
        fix = say("Write the column as UTF-8 text, or remove the row.")
        raise RowProblem("E304", where, expected_text(where, value), fix)
    fix = (
        say(
            "Write it as text, or set --data.coerce.{column} json to train on its JSON.",
            column=column,
        )
        if isinstance(value, dict | list)
        else say("Write it as text, or set --data.coerce.{column} text.", column=column)
    )
    raise RowProblem("E304", where, expected_text(where, value), fix)


def out_of_range(where: str) -> RowProblem:
    """Make E126 for a number out of range."""
    return RowProblem(
        "E126",
        where,
        say("field {field}: number out of range", field=where),
        say("Write it as text, in quotes, or remove the row."),
    )


def optional_text(value: Any, column: str, options: RowOptions) -> str:
    """Read a text field that may be absent, null or empty; returns ``""`` for these.

    Raises:
        RowProblem: E304, the value is not text.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return coerced(value, column, options.coerce.get(column), column)


def expected_text(where: str, value: Any) -> Phrase:
    """The phrase ``field output: expected text, found number 42``."""
    return say("field {field}: expected text, found {what}", field=where, what=show(value))
