"""What the text of a JSON body may be: UTF-8, whole characters, finite numbers, each key once.

JSON can spell half of a character (``"\\ud800"``), which no file, database or response can hold,
and Python's parser accepts such text, other encodings, and numbers that become infinite. Of a key
that occurs twice it keeps the last value and drops the other without a word.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from tunery.i18n import t

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SHOWN = 80
_ODD_NUMBER = re.compile(rb"NaN|Infinity|[eE]\+?\d{2}|\d{300}")


def why_unreadable(body: bytes) -> str:
    """Why the text of a body cannot be accepted, a sentence; empty if nothing speaks against it.

    A body that is not JSON passes: the route that reads it says so.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return t("The body is not valid UTF-8.")
    if "\0" in text:  # JSON spells it as \u0000; only other encodings contain it
        return t("The body is not valid UTF-8.")
    if _SURROGATE.search(body) and not _is_whole(text):
        return t("The body contains text that is not valid Unicode (a lone surrogate).")
    if _ODD_NUMBER.search(body) and not _is_finite(text):
        return t("The body contains a number that is not finite or too large.")
    if (twice := _repeated(text)) is not None:
        return t(
            "The body has the key {key} twice in one object. Send it once.",
            key=json.dumps(twice[:_SHOWN], ensure_ascii=False),
        )
    return ""


def _repeated(text: str) -> str | None:
    """The first key that occurs twice in one object."""
    found: list[str] = []

    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(given)
        if len(made) < len(given) and not found:
            seen: set[str] = set()
            found.append(next(key for key, _ in given if key in seen or seen.add(key)))
        return made

    try:
        json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return None
    return found[0] if found else None


def _is_whole(text: str) -> bool:
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    except (ValueError, RecursionError):
        return True
    return True


def _is_finite(text: str) -> bool:
    is_finite = True

    def odd(_name: str) -> None:
        nonlocal is_finite
        is_finite = False

    def number(digits: str) -> Any:
        value = float(digits)
        if not math.isfinite(value):
            odd(digits)
        return value

    try:
        json.loads(text, parse_constant=odd, parse_float=number, parse_int=number)
    except (ValueError, RecursionError):
        return True
    return is_finite
