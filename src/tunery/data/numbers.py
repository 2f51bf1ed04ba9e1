"""Numbers of rows: kept as they are written, or refused; never Infinity or NaN."""

from __future__ import annotations

import json
import math
from typing import Any

from tunery.types import is_list, is_object

MAX_DIGITS = 4000
"""Digits of a whole number; Python itself reads at most 4300."""


class Written(float):
    """A number whose spelling a float would change, such as 0.10 or one of 30 digits."""

    text: str

    def __new__(cls, text: str) -> Written:
        """Keep the spelling."""
        made = super().__new__(cls, text)
        made.text = text
        return made


def as_float(text: str) -> float:
    """Read a number; its spelling is kept where the float is written otherwise."""
    value = float(text)
    # Only a long one, one with an exponent or one that ends in a zero can be.
    if (len(text) > 15 or text[-1] == "0" or "e" in text or "E" in text) and repr(value) != text:
        return Written(text)
    return value


def spelled(value: float) -> str:
    """A number as its row spells it."""
    return value.text if isinstance(value, Written) else json.dumps(value)


def dumps(value: Any) -> str:
    """JSON with sorted keys, in which every number is spelled as in its row."""
    if is_object(value):
        items = (f"{json.dumps(str(key), ensure_ascii=False)}: {dumps(value[key])}"
                 for key in sorted(value))  # fmt: skip
        return "{" + ", ".join(items) + "}"
    if is_list(value):
        return "[" + ", ".join(map(dumps, value)) + "]"
    return spelled(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def is_finite(value: Any) -> bool:
    """Whether a value, with all inside it, has no Infinity and no NaN."""
    if isinstance(value, float):
        return math.isfinite(value)
    if is_list(value):
        return all(is_finite(item) for item in value)
    if is_object(value):
        return all(is_finite(item) for item in value.values())
    return True


def loads(text: str) -> Any:
    """Read JSON that a cell or a call holds as text.

    Raises:
        ValueError: It is not JSON: NaN and Infinity are not, and neither are numbers that no
            numeric type holds.
    """
    value: Any = json.loads(text, parse_constant=_refused)
    if not is_finite(value):
        raise ValueError("a number is out of range")
    return value


def _refused(text: str) -> Any:
    raise ValueError(f"{text} is not valid JSON")
