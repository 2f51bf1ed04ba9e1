"""The standard streams of a command, whatever started it and whatever its locale can write."""

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
"""What stands for a sign that the terminal's encoding does not have; any other becomes ``?``."""


def settle() -> None:
    """Make the streams usable: a closed one is empty, and no sign can end a command.

    A terminal of another encoding than UTF-8 (GBK, Latin-1) gets signs that it can show.
    """
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"),
                              ("stderr", os.O_WRONLY, "w")):  # fmt: skip
        if getattr(sys, name) is None:  # closed by whoever started this command
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8"))
    codecs.register_error(HANDLER, _replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not writes_all_signs(stream):
            stream.reconfigure(errors=HANDLER)


def writes_all_signs(stream: object) -> bool:
    """Whether a stream's encoding has every character there is."""
    encoding = str(getattr(stream, "encoding", None) or "utf-8")
    return encoding.lower().replace("_", "-").startswith(("utf", "gb18030"))


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    # Each stand-in is ASCII, which every encoding of a terminal has.
    return "".join(SIGNS.get(sign, "?") for sign in found), error.end
