"""Roles: map the names in data to our four roles."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tunery.data.formats.base import RowOptions
from tunery.data.problems import Phrase, RowProblem, say, show, visible
from tunery.types import Role, is_object

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}


def role_of(value: Any, where: str, options: RowOptions) -> Role:
    """Our role for a role in the data.

    Raises:
        RowProblem: E405 an unknown role, with the role it probably means; E303 null; E304 not text.
    """
    if isinstance(value, str):
        mapped = options.role_map.get(value, value)
        if mapped in ROLES:
            return ROLES[mapped]
    if isinstance(value, str) and value.strip().lower() in ROLES:
        ours = ROLES[value.strip().lower()]
        raise RowProblem(
            "E405",
            where,
            say('role "{role}" differs from {ours} only in spelling', role=value, ours=ours),
            say("Set {flag}.", flag=Phrase(_mapping(value, ours))),
        )
    if not isinstance(value, str):
        raise RowProblem(
            "E304" if value is not None else "E303",
            where,
            say("field {field}: expected a role, found {what}", field=where, what=show(value)),
            say("Write system, user, assistant or tool."),
        )
    mapped = options.role_map.get(value)
    if mapped is not None:
        raise RowProblem(
            "E405",
            where,
            say(
                'data.role_map maps role "{role}" to "{mapped}", which is not a role',
                role=visible(value, 40),
                mapped=visible(mapped, 40),
            ),
            say("Set it to system, user, assistant or tool."),
        )
    fix = say("Write system, user, assistant or tool.")
    if value.isprintable() and value.strip() and len(value) <= 40:
        fix = say("Correct it, or set what it means: {flag}.", flag=Phrase(_mapping(value, "ROLE")))
    raise RowProblem(
        "E405",
        where,
        say('role "{role}"; expected system, user, assistant or tool', role=visible(value, 40)),
        fix,
    )


@contextmanager
def collect_unknown_roles(values: Sequence[Any], key: str, options: RowOptions) -> Generator[None]:
    """Add all unknown roles of the row to an E405 raised inside the block.

    Args:
        values: The messages of the row.
        key: Key of the role in each message.
        options: How rows are read, including roles that are already mapped.
    """
    try:
        yield
    except RowProblem as error:
        if error.code == "E405":
            spoken = [value.get(key) for value in values if is_object(value)]
            known = {options.tags[tag] for tag in options.tags if tag.endswith("_tag")}
            error.roles = unknown_roles([each for each in spoken if each not in known], options)
        raise


def unknown_roles(spoken: Iterable[Any], options: RowOptions) -> dict[str, str]:
    """Every unknown role of a row -> the role it probably means, or ``ROLE`` if that is not known.

    Args:
        spoken: The roles of the row's messages.
        options: How rows are read, including roles that are already mapped.
    """
    found: dict[str, str] = {}
    for role in spoken:
        if isinstance(role, str) and options.role_map.get(role, role) not in ROLES:
            plain = role.isprintable() and bool(role.strip()) and len(role) <= 40
            if plain and role not in options.role_map:
                found[role] = ROLES.get(role.strip().lower(), "ROLE")
    return found


def all_mapped(roles: Mapping[str, str]) -> Phrase:
    """Advice for several unknown roles: one flag per role, or one for all."""
    flags = " ".join(_mapping(theirs, ours) for theirs, ours in roles.items())
    if any("=" in theirs for theirs in roles):  # the JSON mapping replaces any earlier flag
        flags = f"--data.role_map {shlex.quote(json.dumps(roles, ensure_ascii=False))}"
    if "ROLE" not in roles.values():
        return say("Set {flag}.", flag=Phrase(flags))
    return say("Correct them, or set what they mean: {flags}.", flags=Phrase(flags))


def _mapping(theirs: str, ours: str) -> str:
    """The command-line flag that maps a role, quoted for a shell."""
    if "=" in theirs:
        return f"--data.role_map {shlex.quote(json.dumps({theirs: ours}, ensure_ascii=False))}"
    return f"{shlex.quote(f'--data.role_map.{theirs}')} {ours}"
