"""Report columns and message keys that are not read."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tunery.data.formats import FORMATS
from tunery.data.formats.base import UNREAD, Format, RowOptions, read_columns
from tunery.data.formats.beside import LABELS
from tunery.data.formats.flags import FLAGS
from tunery.data.formats.messages import keys_of
from tunery.data.groups import WEIGHT
from tunery.data.problems import Phrase, Problem, column_name, enumerated, say, visible
from tunery.types import Conversation, is_list, is_object

# Columns by which other tools decide what is trained; they get their own warning if not read.
WEIGHTS = frozenset({*FLAGS, "loss_weight", "train_mask", "assistant_masks"})
OF_ROWS = "loss_weight"
"""The one of them that holds a number for the whole row."""
WITH_MESSAGES = ("openai", "sharegpt")
MOST_CHARACTERS = 400
CODES = frozenset({"W716", "W717", "W718", "W720", "W725"})
"""The codes of the problems from ``unused``."""
CALL = frozenset({"name", "arguments"})
WRAPPED_CALL = frozenset({"id", "type", "function"})
WHOLE = frozenset({"messages", "tools"})
INNER = {
    "tool_calls": CALL | {"id", "type"},
    "function_call": CALL,
    "content": frozenset({"type", "text"}),
}
"""Objects inside a message -> the keys that are read in them."""


def unused(
    columns: Sequence[str], keys: Sequence[str], format: Format, options: RowOptions, file: str
) -> Iterator[Problem]:
    """List the columns and keys that the format does not read, and configured ones without effect.

    Args:
        columns: All columns of the usable rows.
        keys: Keys from ``foreign_keys``, and columns that were not used in some rows.
        format: Format of the rows.
        options: How rows are read.
        file: File name for the problems.
    """
    read = {options.column(name) for name in format.known}
    left = [name for name in columns if name not in read]
    for ours in options.columns:
        if ours not in format.known:
            yield _elsewhere(ours, format, file)
    undeclared = [name for name in left if name in format.known]
    if undeclared:
        yield Problem(
            "W717",
            file,
            say("not read: {columns}", columns=enumerated(undeclared)),
            say(
                "Once columns are named, only those are read. If this one is needed, "
                "name it too: --data.columns.{column} {column}.",
                column=undeclared[0],
            ),
        )
    weights = [name for name in left if name in WEIGHTS and name not in undeclared]
    if weights:
        yield Problem(
            "W718",
            file,
            say("not used: {columns}; all rows count the same", columns=enumerated(weights)),
            _fix_of_weights(weights, columns, format, options),
        )
    rejected = [name for name in left if name.startswith("rejected") and name not in undeclared]
    if rejected:
        yield Problem(
            "W720",
            file,
            say("not used: {columns}; the other answers are trained on as good ones",
                columns=enumerated(rejected)),
            say("To learn from both: --data.format preference and --method.type dpo."),
        )  # fmt: skip
    named = {*undeclared, *weights, *rejected}
    others = [name for name in left if name not in named]
    rest = [*(_label(name, columns) for name in others), *keys]
    if rest:
        yield Problem(
            "W725",
            file,
            say("not used: {columns}", columns=enumerated(rest, MOST_CHARACTERS)),
            _fix(others, rest, format),
        )


def _elsewhere(ours: str, format: Format, file: str) -> Problem:
    """A named column that the format of the rows does not have, but others do."""
    owners = [name for name in FORMATS if ours in FORMATS.get(name).known]
    words = {
        "ours": visible(ours, 40),
        "format": format.name,
        "owners": ", ".join(owners),
        "names": ", ".join(format.known),
    }
    if len(owners) == 1:
        return Problem(
            "W716",
            file,
            say(
                "data.columns.{ours} belongs to the format {owners}; these rows are read as "
                "{format}, so it is not used",
                **words,
            ),
            say(
                "If the rows have this format: --data.format {owners}; otherwise use a column of "
                "{format}: {names}.",
                **words,
            ),
            field=f"data.columns.{ours}",
        )
    return Problem(
        "W716",
        file,
        say(
            "data.columns.{ours} belongs to other formats ({owners}); these rows are read as "
            "{format}, so it is not used",
            **words,
        ),
        say(
            "If the rows have one of these formats, set data.format; otherwise use a column of "
            "{format}: {names}.",
            **words,
        ),
        field=f"data.columns.{ours}",
    )


def _fix_of_weights(
    weights: Sequence[str], columns: Sequence[str], format: Format, options: RowOptions
) -> Phrase:
    """What to do about columns that weigh a row and are not read."""
    if WEIGHT not in format.known:
        return say(
            "Rows of format {format} have no weight. To train some of them more often, move them "
            "to a file of their own and repeat it: FILE*2. To train on all rows alike, "
            "--data.accept W718.",
            format=format.name,
        )
    if OF_ROWS in weights and options.column(WEIGHT) not in columns:
        named = replace(options, columns={**options.columns, WEIGHT: OF_ROWS})
        after = read_columns(format, columns, named)
        lost = [ours for ours in format.known if options.column(ours) in columns
                and after.column(ours) == UNREAD]  # fmt: skip
        flags = [f"--data.columns.{ours} {shlex.quote(options.column(ours))}" for ours in lost]
        return say(
            "If it weighs the rows: {flags}; otherwise --data.accept W718.",
            flags=" ".join([f"--data.columns.{WEIGHT} {OF_ROWS}", *flags]),
        )
    if format.name in WITH_MESSAGES:
        return say(
            "Give each message its own weight, 0 or 1, and remove rows that must not be trained on."
        )
    return say(
        "Write a number in a column weight, such as 0.5 or 2, and remove rows that must not be "
        "trained on."
    )


def _fix(columns: Sequence[str], rest: Sequence[str], format: Format) -> Phrase:
    """What to do about columns and keys that are not read."""
    label = next((name for name in LABELS if name in columns), None)
    if label is not None and format.makes is Conversation:
        return say(
            "If {column} marks good and bad answers: --data.format unpaired and "
            "--method.type kto; otherwise --data.accept W725.",
            column=label,
        )
    if not columns and all("." in name for name in rest):
        return say("Keys inside messages cannot be read. To accept that: --data.accept W725.")
    return say("If one is needed, name it with --data.columns; otherwise --data.accept W725.")


def _label(name: str, columns: Sequence[str]) -> str:
    """The name of a column in a message; its number if it has no name."""
    if name.strip():
        return column_name(name)
    return str(say("column {n} (no name)", n=list(columns).index(name) + 1))


def foreign_keys(
    row: dict[str, Any], columns: Collection[str], options: RowOptions
) -> Iterator[str]:
    """Yield keys of a row's messages that are not read, such as ``messages[].score``."""
    speakers = {"role", options.tags.get("role_tag", "from")}
    for column in columns:
        value: Any = row.get(column)
        place = column
        if is_object(value) and is_list(value.get("messages")):  # the input of OpenAI's pairs
            yield from _foreign(value, WHOLE, column)
            value, place = value["messages"], f"{column}.messages"
        many = is_list(value)
        place = f"{place}[]" if many else place
        for item in value if many else (value,):
            if is_object(item) and not item.keys().isdisjoint(speakers):
                known = keys_of(item, options)
                yield from _foreign(item, known, place)
                yield from _inside(item, known, place)


def _inside(message: dict[str, Any], known: frozenset[str], place: str) -> Iterator[str]:
    """Yield keys of a message's calls and content parts that are not read."""
    for name, keys in INNER.items():
        value: Any = message.get(name) if name in known else None
        many = is_list(value)
        where = f"{place}.{name}[]" if many else f"{place}.{name}"
        for item in value if many else (value,):
            if not is_object(item):
                continue
            function: Any = item.get("function")
            if name == "tool_calls" and is_object(function):
                yield from _foreign(item, WRAPPED_CALL, where)
                yield from _foreign(function, CALL, f"{where}.function")
            else:
                yield from _foreign(item, keys, where)


def _foreign(item: dict[str, Any], known: frozenset[str], place: str) -> Iterator[str]:
    for key in item.keys() - known:
        if item[key] is not None:
            yield f"{place}.{key}"
