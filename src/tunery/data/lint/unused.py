"""What rows hold and nothing reads: columns and keys of messages, each named once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tunery.data.formats.base import Format, RowOptions
from tunery.data.formats.messages import MESSAGE_KEYS
from tunery.data.problems import Problem, say, visible
from tunery.types import is_list, is_object

# Columns by which other tools decide what is trained: more than a note where nothing reads them.
WEIGHTS = frozenset({"loss", "loss_scale", "loss_weight", "mask", "masked", "train", "weight"})
SPEAKERS = ("role", "from")


def unused(
    sample: Sequence[dict[str, Any]], format: Format, options: RowOptions, file: str
) -> list[Problem]:
    """Name what the first rows hold and the format does not read, and what was named in vain."""
    return list(_unused(sample, format, options, file))


def _unused(
    sample: Sequence[dict[str, Any]], format: Format, options: RowOptions, file: str
) -> Iterator[Problem]:
    # A row without what the format needs is a problem of its own, and says so.
    needed = [options.column(name) for name in format.required]
    sample = [row for row in sample if all(name in row for name in needed)]
    read = {options.column(name) for name in format.known}
    present = list(dict.fromkeys(str(key) for row in sample for key in row))
    left = [name for name in present if name not in read]
    for ours in options.columns:
        if ours not in format.known:
            yield Problem(
                "W716",
                file,
                say(
                    "data.columns.{ours}: format {format} has no such column; it is not used",
                    ours=visible(ours, 40),
                    format=format.name,
                ),
                say("Name one of its columns: {names}.", names=", ".join(format.known)),
            )
    undeclared = [name for name in left if name in format.known]
    if undeclared:
        yield Problem(
            "W717",
            file,
            say("not read: {columns}", columns=_listed(undeclared)),
            say(
                "Where columns are named, only these are read. If it is meant, name it too: "
                "--data.columns.{column} {column}.",
                column=undeclared[0],
            ),
        )
    weights = [name for name in left if name in WEIGHTS and name not in undeclared]
    if weights:
        yield Problem(
            "W718",
            file,
            say("not used: {columns}; all rows count the same", columns=_listed(weights)),
            say(
                "Give each message its own weight, 0 or 1, and leave out rows that must not be "
                "trained."
            ),
        )
    rejected = [name for name in left if name.startswith("rejected") and name not in undeclared]
    if rejected:
        yield Problem(
            "W720",
            file,
            say("not used: {columns}; the answers beside it are trained as good ones",
                columns=_listed(rejected)),
            say("To learn from both: --data.format preference and --method.type dpo."),
        )  # fmt: skip
    named = {*undeclared, *weights, *rejected}
    rest = [name for name in left if name not in named] + _keys(sample, read)
    if rest:
        yield Problem("N203", file, say("not used: {columns}", columns=_listed(rest)))


def _listed(names: Sequence[str]) -> str:
    return visible(", ".join(names), 80)


def _keys(sample: Sequence[dict[str, Any]], read: set[str]) -> list[str]:
    """Keys of messages that mean nothing here, as ``messages[].key``."""
    found: dict[str, None] = {}
    for row in sample:
        for column in read & row.keys():
            value: Any = row[column]
            for item in value if is_list(value) else ():
                if is_object(item) and not item.keys().isdisjoint(SPEAKERS):
                    found.update((f"{column}[].{key}", None) for key in item if _foreign(key, item))
    return list(found)


def _foreign(key: str, message: dict[str, Any]) -> bool:
    return key not in MESSAGE_KEYS and message[key] is not None
