"""Numbers in rows: their spelling is kept; Infinity and NaN are rejected."""

from __future__ import annotations

import json
import math
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from tunery.types import is_list, is_object

DATES = (date, time, timedelta)
CELLS = (*DATES, Decimal)
"""Types of cells in Parquet and Arrow files that JSON does not have; JSON has their text."""
MAX_DIGITS = 4000
"""Maximum digits of a whole number; Python's own limit is 4300."""


class Written(float):
    """A float that keeps its spelling, such as 0.10 or a number of 30 digits."""

    text: str

    def __new__(cls, text: str) -> Written:
        """Make the float and keep its spelling in ``text``."""
        made = super().__new__(cls, text)
        made.text = text
        return made


def as_float(text: str) -> float:
    """Parse a number; keep its spelling if the float would be written differently."""
    value = float(text)
    # Only long numbers, numbers with an exponent and numbers that end in 0 can be.
    if (len(text) > 15 or text[-1] == "0" or "e" in text or "E" in text) and repr(value) != text:
        return Written(text)
    return value


def spelled(value: float) -> str:
    """A number as it is spelled in its row."""
    return value.text if isinstance(value, Written) else json.dumps(value)


def dumps(value: Any) -> str:
    """Serialize as JSON with sorted keys; every number is spelled as in its row."""
    if is_object(value):
        items = (f"{json.dumps(str(key), ensure_ascii=False)}: {dumps(value[key])}"
                 for key in sorted(value))  # fmt: skip
        return "{" + ", ".join(items) + "}"
    if is_list(value):
        return "[" + ", ".join(map(dumps, value)) + "]"
    if isinstance(value, CELLS):
        return str(value) if isinstance(value, Decimal) else json.dumps(str(value))
    return spelled(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def is_finite(value: Any) -> bool:
    """Whether a value and all values inside it are free of Infinity and NaN."""
    if isinstance(value, float):
        return math.isfinite(value)
    if is_list(value):
        return all(is_finite(item) for item in value)
    if is_object(value):
        return all(is_finite(item) for item in value.values())
    return True


def finite(value: float) -> float | None:
    """A number, possibly a large integer, as a float; None if it is not a finite one."""
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def loads(text: str) -> Any:
    """Parse JSON in the text of a cell or call.

    Raises:
        ValueError: The text is not JSON, or contains NaN, Infinity or a number out of range.
    """
    value: Any = json.loads(text, parse_constant=_refused)
    if not is_finite(value):
        raise ValueError("a number is out of range")
    return value


def _refused(text: str) -> Any:
    raise ValueError(f"{text} is not valid JSON")
