"""An option whose value may start with a dash must not take the next option as its value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tunery.errors import TuneryError
from tunery.i18n import t

if TYPE_CHECKING:
    from cyclopts import App


def check(app: App, words: Sequence[str]) -> None:
    """Reject ``--prompt --json``; ``--prompt=--json`` and ``--prompt -5`` are valid.

    Args:
        app: The command tree.
        words: The whole command line.

    Raises:
        TuneryError: There is an option where a value is missing.
    """
    chain, apps, rest = app.parse_commands(list(words))
    run: Any = apps[-1].default_command
    if not getattr(run, "__module__", "").startswith("tunery."):
        return  # a command group
    arguments = apps[-1].assemble_argument_collection(parse_docstring=False)
    options = {name for each in arguments for name in each.names if name.startswith("--")}
    taking = {
        name
        for each in arguments
        if each.parameter.allow_leading_hyphen
        for name in each.names
        if name.startswith("--")
    }
    given = rest[: rest.index("--")] if "--" in rest else rest
    for word, following in pairwise(given):
        if word in taking and following.partition("=")[0] in {*options, "--help"}:
            raise TuneryError(
                t("{name}: a value is missing.", name=word),
                fix=t(
                    "For a value that begins with dashes, write {name}=VALUE. See: {command} "
                    "--help",
                    name=word,
                    command=" ".join(["tunery", *chain]),
                ),
            )
