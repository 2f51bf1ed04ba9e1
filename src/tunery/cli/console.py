"""The two consoles of the command line, and JSON for programs.

``out`` is the requested output; ``err`` is progress, warnings and errors. With ``--json`` a command
writes one JSON value to stdout and nothing else there.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from tunery.cli.streams import writes_all_signs
from tunery.cli.wrapping import prose
from tunery.i18n import t


class PipeConsole(Console):
    """A console whose reader may disappear: the command then exits quietly."""

    def on_broken_pipe(self) -> NoReturn:
        """Pass the broken pipe to ``main``, which ends the command silently."""
        raise BrokenPipeError


out = PipeConsole(highlight=False)
err = PipeConsole(stderr=True, highlight=False)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that stdout can encode: unsupported characters are escaped."""
    plain = not writes_all_signs(sys.stdout)
    return json.dumps(value, ensure_ascii=plain, indent=indent, allow_nan=False)


def print_json(value: Any) -> None:
    """Write one JSON value to stdout, formatted to be readable."""
    sys.stdout.write(json_text(value, indent=2) + "\n")
    sys.stdout.flush()


def print_error(message: str, fix: str = "") -> None:
    """Write an error to stderr: what is wrong, then ``fix:`` and what to do."""
    prose(err, Text(message, style="bold red"))
    if fix:
        prose(err, Text.assemble((t("fix: "), "bold"), fix))


def print_warning(text: str) -> None:
    """Write a warning to stderr."""
    prose(err, Text.assemble(("! ", "yellow"), text))
