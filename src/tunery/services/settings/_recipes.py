"""Which preset suits a dataset, and whether a draft already sets how to train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunery.config import layers
from tunery.config.adapters import ADAPTERS
from tunery.config.base import tag
from tunery.config.methods import METHODS

FIRST = tag(ADAPTERS[0])
"""The preset for conversations, and for a method that has no preset of its own."""


def preset_of(method: str) -> str:
    """The preset for a method; an empty name is the default method."""
    named = method and method != tag(METHODS[0]) and method in layers.preset_names()
    return method if named else FIRST


def has_recipe(fields: Mapping[str, Any]) -> bool:
    """Whether any field sets how to train."""
    return any(map(_is_recipe, fields))


def _is_recipe(path: str) -> bool:
    return not path.startswith(("model.", "data.")) or path.startswith("data.replay.")
