"""Who speaks: the names that other tools give to our four roles."""

from __future__ import annotations

import json
import shlex
from typing import Any

from tunery.data.formats.base import RowOptions
from tunery.data.problems import Phrase, RowProblem, say, show, visible
from tunery.types import Role

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
    """Our role for theirs.

    Raises:
        RowProblem: E405 an unknown role, with what it may have meant.
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
            say('role "{role}": same as {ours} but for its spelling', role=value, ours=ours),
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
                'data.role_map takes role "{role}" for "{mapped}", which is no role',
                role=visible(value, 40),
                mapped=visible(mapped, 40),
            ),
            say("Set it to system, user, assistant or tool."),
        )
    fix = say("Write system, user, assistant or tool.")
    if value.isprintable() and value.strip() and len(value) <= 40:
        fix = say("Correct it, or say what it means: {flag}.", flag=Phrase(_mapping(value, "ROLE")))
    raise RowProblem(
        "E405",
        where,
        say('role "{role}"; expected system, user, assistant or tool', role=visible(value, 40)),
        fix,
    )


def _mapping(theirs: str, ours: str) -> str:
    """The flag that says what a role means, as a shell takes it."""
    if "=" in theirs:
        return f"--data.role_map {shlex.quote(json.dumps({theirs: ours}, ensure_ascii=False))}"
    return f"{shlex.quote(f'--data.role_map.{theirs}')} {ours}"
