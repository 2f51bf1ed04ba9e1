"""How settings select modules by name, with PEFT's rules, for the costs and for the model itself.

A name selects every module whose name ends with it (``q_proj``, ``self_attn.q_proj``); a text with
the signs of a regular expression selects every module whose whole name it matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Names = str | Sequence[str]
Value = TypeVar("Value")

_SIGNS = frozenset(r"\*+?[](){}|^$")
_LAYER = re.compile(r".*?\.[^.]*\.(\d+)\.")


def is_pattern(wanted: Names) -> bool:
    """Whether a value is a regular expression and no list of names."""
    return isinstance(wanted, str) and not _SIGNS.isdisjoint(wanted)


def listed(wanted: Names) -> list[str]:
    """The names in a value that is no pattern; text is divided at commas."""
    return wanted.split(",") if isinstance(wanted, str) else list(wanted)


def is_meant(name: str, wanted: str) -> bool:
    """Whether a module's full name is ``wanted`` or ends with it."""
    return name == wanted or name.endswith(f".{wanted}")


def selects(wanted: Names, name: str) -> bool:
    """Whether a value (names or a pattern) selects a module by its full name."""
    if is_pattern(wanted):
        return re.fullmatch(str(wanted), name) is not None
    return any(is_meant(name, each) for each in listed(wanted))


def layer_of(name: str) -> int | None:
    """The number of the layer that contains a module; None outside the layers."""
    found = _LAYER.match(name)
    return int(found[1]) if found else None


def value_for(name: str, patterns: dict[str, Value], default: Value) -> Value:
    """The value of the first pattern that matches the end of a module's name."""
    return next((v for key, v in patterns.items() if pattern_fits(key, name)), default)


def pattern_fits(key: str, name: str) -> bool:
    """Whether a key of ``rank_pattern`` or ``alpha_pattern`` matches the end of a name."""
    return re.match(rf"(.*\.)?({key})$", name) is not None


def broken_patterns(wanted: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The texts that are no regular expressions, each with the reason."""
    for text in wanted:
        try:
            re.compile(text)
        except re.error as error:
            yield text, str(error)
