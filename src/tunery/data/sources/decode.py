"""Strict JSON for rows: Python's fast scanner without NaN, recording numbers out of range."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, cast

from tunery.data.numbers import MAX_DIGITS, as_float
from tunery.types import is_list

MAX_INTEGER_DIGITS = 19
Scan = Callable[[str, int], tuple[Any, int]]


class NotJSON(ValueError):
    """The text contains NaN or Infinity, which are not JSON."""


class Decoder:
    """The decoder of one file.

    Attributes:
        odd: Numbers out of range, as text; the caller clears the list.
        scan: Parses the value at a position of a text and returns it with its end. Raises
            ValueError, StopIteration or RecursionError.
    """

    def __init__(self) -> None:
        self.odd: list[str] = []
        decoder = json.JSONDecoder(
            parse_float=self._float, parse_int=self._int, parse_constant=self._constant
        )
        # The scanner that json.loads uses; it has no typed name.
        self.scan: Scan = cast(Any, decoder).scan_once
        strict = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=self._int)
        self._strict: Scan = cast(Any, strict).scan_once

    def duplicate(self, text: str) -> tuple[str, Any, Any] | None:
        """The first key that appears twice in an object of ``text``, with both values, or None."""
        found: list[tuple[str, Any, Any]] = []
        _walk(self._strict(text, len(text) - len(text.lstrip()))[0], found)
        return found[0] if found else None

    def _float(self, text: str) -> float:
        value = as_float(text)
        if math.isinf(value):
            self.odd.append(text)
        return value

    def _int(self, text: str) -> int | float:
        if len(text) <= MAX_INTEGER_DIGITS - 1:
            return int(text)
        if len(text) > MAX_DIGITS:
            self.odd.append(text)
            return math.inf
        value = int(text)
        if not -(2**63) <= value < 2**64:
            self.odd.append(text)
        return value

    @staticmethod
    def _constant(text: str) -> Any:
        raise NotJSON(text)


class _Pairs(list[tuple[str, Any]]):
    """Keys and values of one object, in order, with duplicate keys."""


def _pairs(pairs: list[tuple[str, Any]]) -> _Pairs:
    return _Pairs(pairs)


def _walk(value: Any, found: list[tuple[str, Any, Any]]) -> None:
    if isinstance(value, _Pairs):
        seen: dict[str, Any] = {}
        for key, item in value:
            if key in seen:
                found.append((key, _plain(seen[key]), _plain(item)))
                return
            seen[key] = item
            _walk(item, found)
    elif is_list(value):
        for item in value:
            _walk(item, found)


def _plain(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return dict(value)
    return value
