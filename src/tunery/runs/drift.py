"""Compare the settings that a checkpoint was made with to the current ones.

Pure functions of plain data. Settings that affect neither the weights nor the order of the rows may
change freely; any other difference prevents a resume until the user allows it by name.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, cast

from tunery.commands import quoted
from tunery.errors import RunError, did_you_mean
from tunery.i18n import joined, t

FREE = (
    "preset",
    "checkpoint.",
    "evaluate.every",
    "evaluate.prompts",
    "evaluate.samples",
    "evaluate.max_new_tokens",
    "evaluate.forgetting",
    "evaluate.patience",
    "train.stop_grace_seconds",
    "train.max_non_finite",
    "data.accept",
    "data.catalog",
    "track.",
)
"""Fields (or, with a trailing dot, sections) that may differ."""


@dataclass(frozen=True)
class Difference:
    """One field that changed."""

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field}: {self.old!r} -> {self.new!r}"


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[Difference]:
    """List the fields that differ and are not in ``FREE``.

    Args:
        old: Settings, or hashes such as ``data_hash``, recorded in the checkpoint.
        new: The current ones.
    """
    before, now = dict(_flat(old)), dict(_flat(new))
    fields = [*before, *(field for field in now if field not in before)]
    return [
        Difference(field, before.get(field), now.get(field))
        for field in fields
        if before.get(field) != now.get(field) and not _free(field)
    ]


def refuse(run: str, found: list[Difference], *, allowed: Collection[str] = ()) -> list[str]:
    """Raise if a difference is not allowed.

    Args:
        run: The run's name.
        found: The differences.
        allowed: Fields or sections that the user allows to differ.

    Returns:
        The names of all differing fields, to record.

    Raises:
        RunError: With each difference that is not allowed, and how to allow it.
    """
    open_ones = [d for d in found if not _allowed(d.field, allowed)]
    if open_ones:
        listed = [f"  {difference}" for difference in open_ones]
        flags = [word for each in open_ones for word in ("--allow-drift", each.field)]
        raise RunError(
            joined(
                t("Run {run} cannot be resumed: the following changed since its last checkpoint.",
                  run=run),
                *listed, between="\n",
            ),
            fix=t("Undo the change, or accept it: tunery runs resume {run} {flags}",
                  run=quoted(run), flags=shlex.join(flags)),
            run=run,
            drift=",".join(difference.field for difference in open_ones),
        )  # fmt: skip
    return [difference.field for difference in found]


def refuse_unknown(run: str, names: Collection[str], record: dict[str, Any]) -> None:
    """Raise if a name is not a field that a resume compares.

    Args:
        run: The run's name.
        names: Fields or sections that the user allows to differ.
        record: The fields that are compared: settings, hashes, facts, versions.

    Raises:
        RunError: With the most similar name.
    """
    known: dict[str, None] = {}
    for field, _ in _flat(record):
        parts = field.split(".")
        known.update(dict.fromkeys(".".join(parts[: end + 1]) for end in range(len(parts))))
    for name in names:
        if name not in known and not name.startswith(("facts.", "versions.")):
            sections = [field for field in known if "." not in field]
            raise RunError(
                t("--allow-drift {name}: no such field.", name=name),
                fix=did_you_mean(name, list(known))
                or t("Use a setting, such as train.seed, or one of: {names}.",
                     names=", ".join(sections)),
                run=run,
            )  # fmt: skip


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        path = f"{prefix}{key}"
        if isinstance(item, dict):
            yield from _flat(cast("dict[str, Any]", item), f"{path}.")
        else:
            yield path, item


def _free(field: str) -> bool:
    return any(field.startswith(free) if free.endswith(".") else field == free for free in FREE)


def _allowed(field: str, allowed: Collection[str]) -> bool:
    return any(field == name or field.startswith(f"{name}.") for name in allowed)
