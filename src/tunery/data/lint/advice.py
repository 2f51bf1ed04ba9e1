"""Advice for rows without a matching format: settings made from the columns they have."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunery.data.formats import FORMATS
from tunery.data.formats.base import RowOptions
from tunery.data.problems import Phrase, column_name, enumerated, say
from tunery.types import is_list, is_object

Rows = Sequence[Mapping[str, Any]]
ASKS = ("instruction", "question", "prompt", "query", "problem", "input", "user", "human", "source")
ANSWERS = (
    *("output", "answer", "response", "completion", "reply", "solution", "target", "assistant"),
    *("answers", "bot", "gpt", "result"),
)
ANSWERING = ("assistant", "gpt")
BESIDE = ("input", "context")
DEEPEST = 3
MOST_NAMED = 4
"""Maximum number of columns that advice offers one by one."""
DIVIDERS = "^:¦§@"  # which a shell needs no quotes for


def settings_for(rows: Rows, format: str | None = None) -> str:
    """Flags to read the rows with; empty if there is no obvious way.

    Args:
        rows: The first rows.
        format: The format that must be used; None allows any.
    """
    found = likely(rows, format)
    if found is None:
        return ""
    name, columns = found
    named = [f"--data.columns.{ours} {shlex.quote(theirs)}" for ours, theirs in columns.items()]
    return " ".join(([] if format else [f"--data.format {name}"]) + named)


def likely(rows: Rows, format: str | None = None) -> tuple[str, dict[str, str]] | None:
    """The format and columns to read the rows with, or None; see ``settings_for``."""
    ways = (_messages, _answers, _texts) if rows else ()
    found = (each for way in ways if (each := way(rows)))
    return next((each for each in found if format in (None, each[0])), None)


def fix_for(rows: Rows, format: str, options: RowOptions) -> Phrase:
    """Advice if a format is configured and the rows lack its columns."""
    if same := settings_for(rows, format):
        return say("Name the columns: {flags}.", flags=Phrase(same))
    if other := settings_for(rows):
        return say("Did you mean {flags}?", flags=Phrase(other))
    missing = [
        ours
        for ours in FORMATS.get(format).required
        if all(options.column(ours) not in row for row in rows)
    ]
    free = [name for name in _text_columns(rows) if name not in options.columns.values()
            and name not in FORMATS.get(format).known]  # fmt: skip
    if len(missing) == 1 and 0 < len(free) <= MOST_NAMED:
        ways = [f"--data.columns.{missing[0]} {shlex.quote(name)}" for name in free]
        if len(ways) == 1:
            return say("Name the columns: {flags}.", flags=Phrase(ways[0]))
        return say("Choose the column, one of: {ways}.", ways=Phrase(", ".join(ways)))
    return say(
        "Choose the column: {flags}. Available: {columns}.",
        flags=Phrase(" ".join(f"--data.columns.{ours} THEIRS" for ours in missing)),
        columns=_columns(rows),
    )


def fix_without_format(rows: Rows) -> Phrase:
    """Advice if no format is configured and none is detected."""
    if any(_masked(row) for row in rows):
        return say(
            "Parts of a row that are trained and parts that are not cannot be read. Write "
            "messages, with train: false on those that are not learned."
        )
    if path := "" if _answers(rows) else records_at(rows):
        return say("The rows are in a nested list: set --data.records_at {path}.", path=path)
    flags = settings_for(rows)
    if flags and any(name != name.strip() for row in rows for name in map(str, row)):
        return say(
            "Some column names begin or end with a space. Remove it, or set the format and the "
            "columns, likely: {flags}.",
            flags=Phrase(flags),
        )
    if flags:
        return say("Set the format and its columns, likely: {flags}.", flags=Phrase(flags))
    if not any(isinstance(value, str) for row in rows for value in row.values()):
        return say("No column contains text: use a file with text or messages.")
    if len(two := _text_columns(rows)) == 2:
        return say(
            "If {output} has the answers: --data.format alpaca --data.columns.instruction "
            "{instruction} --data.columns.output {output}; or, to train on all text in a column: "
            "--data.format text --data.columns.text {output}.",
            instruction=shlex.quote(two[0]),
            output=shlex.quote(two[1]),
        )
    return say(
        "Set the format and its columns: --data.format alpaca --data.columns.instruction "
        "THEIRS --data.columns.output THEIRS, where THEIRS is one of {columns}; or, to "
        "train on all text in a column: --data.format text --data.columns.text THEIRS.",
        columns=_columns(rows),
    )


def delimiter(rows: Rows) -> str:
    """A character that divides the only column of a table, in its name as in its cells; or empty.

    Only characters that are not detected as delimiters by themselves are considered.
    """
    if not rows or any(len(row) != 1 for row in rows):
        return ""
    ((name, _),) = rows[0].items()
    cells = [str(row.get(name, "")) for row in rows]
    for mark in DIVIDERS:
        count = str(name).count(mark)
        if count and all(str(name).split(mark)) and all(c.count(mark) == count for c in cells):
            return mark
    return ""


def records_at(rows: Rows) -> str:
    """Path of the list of rows inside the only object of a file; empty if there is none."""
    if len(rows) != 1:
        return ""
    return next(_lists(rows[0], 0), "")


def _masked(row: Mapping[str, Any]) -> bool:
    """Whether a row has axolotl's segments: texts, each with a label whether it is trained."""
    parts = row.get("segments")
    return is_list(parts) and any(is_object(part) and "label" in part for part in parts)


def _lists(value: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key, item in value.items():
        if "." in key or depth >= DEEPEST:
            continue
        if is_list(item) and item and all(is_object(each) for each in item):
            if not _is_turn(item[0]):
                yield key
        elif is_object(item):
            yield from (f"{key}.{rest}" for rest in _lists(item, depth + 1))


def _is_turn(turn: Mapping[str, Any]) -> bool:
    return bool({"role", "from"} & turn.keys())


def _messages(rows: Rows) -> tuple[str, dict[str, str]] | None:
    """A column of messages or turns."""
    for column, value in rows[0].items():
        first: Any = value[0] if is_list(value) and value else None
        if not is_object(first):
            continue
        key = "role" if "role" in first else "from"
        if not any(is_object(turn) and turn.get(key) in ANSWERING for turn in value):
            continue
        if {"role", "content"} <= first.keys():
            return "openai", {"messages": column}
        if {"from", "value"} <= first.keys():
            return "sharegpt", {"conversations": column}
    return None


def _answers(rows: Rows) -> tuple[str, dict[str, str]] | None:
    """Columns of a question and its answer, recognized by their names."""
    low = {str(column).strip().lower(): str(column) for row in rows for column in row}
    asks = next((low[name] for name in ASKS if name in low), None)
    answers = next((low[name] for name in ANSWERS if name in low), None)
    if asks is None or answers is None or asks == answers:
        return None
    columns = {"instruction": asks, "output": answers}
    beside = next((low[n] for n in BESIDE if n in low and low[n] not in columns.values()), None)
    good = sum(all(isinstance(row.get(name), str) for name in (asks, answers)) for row in rows)
    if 2 * good < len(rows):  # in fewer such rows, the check reports what is missing
        return None
    return "alpaca", {**columns, **({"input": beside} if beside else {})}


def _texts(rows: Rows) -> tuple[str, dict[str, str]] | None:
    """The only column of text."""
    texts = _text_columns(rows)
    if len(texts) != 1 or texts[0].strip() in {*ASKS, *ANSWERS, "chosen", "rejected", ""}:
        return None
    return "text", {"text": texts[0]}


def _text_columns(rows: Rows) -> list[str]:
    """The columns with text, in order."""
    found = (str(c) for row in rows for c, value in row.items() if isinstance(value, str))
    return list(dict.fromkeys(found))


def _columns(rows: Rows) -> str:
    return enumerated(dict.fromkeys(column_name(str(key)) for row in rows for key in row))
