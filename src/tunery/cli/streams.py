"""The standard streams of a command, whatever started it and whatever its locale supports."""

from __future__ import annotations

import codecs
import io
import os
import sys

HANDLER = "tunery.signs"
SIGNS = {
    "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "·": "-", "•": "*", "→": "->", "←": "<-",
    "≈": "~", "≤": "<=", "≥": ">=", "✓": "+", "✗": "x", "‘": "'", "’": "'", "“": '"', "”": '"',
    "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip
"""Replacements for characters that the terminal's encoding lacks; all others become ``?``."""


def settle() -> None:
    """Make the streams usable: a closed one reads as empty, and no character can abort a command.

    A terminal with an encoding other than UTF-8 (GBK, Latin-1) receives characters it can show.
    """
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"),
                              ("stderr", os.O_WRONLY, "w")):  # fmt: skip
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8"))
    codecs.register_error(HANDLER, _replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not writes_all_signs(stream):
            stream.reconfigure(errors=HANDLER)


def writes_all_signs(stream: object) -> bool:
    """Whether a stream's encoding supports all of Unicode."""
    encoding = str(getattr(stream, "encoding", None) or "utf-8")
    return encoding.lower().replace("_", "-").startswith(("utf", "gb18030"))


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    # Each replacement is ASCII, which every terminal encoding supports.
    return "".join(SIGNS.get(sign, "?") for sign in found), error.end
