"""Which preset suits a dataset, and whether a draft already sets how to train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunery.config import layers, settings
from tunery.config.adapters import ADAPTERS
from tunery.config.base import tag
from tunery.config.methods import METHODS
from tunery.services.settings import _forms
from tunery.types import is_list, is_object

FIRST = tag(ADAPTERS[0])
"""The preset for conversations, and for a method that has no preset of its own."""


def preset_of(method: str, origin: str = "") -> str:
    """The preset for a dataset: the one that names it, else the one for its method.

    Args:
        method: The method that learns from its rows; an empty name is the default method.
        origin: The dataset, or the one that it is a copy of.
    """
    for preset in layers.preset_names() if origin else ():
        if preset_datasets(preset) == [origin]:
            return preset
    named = method and method != tag(METHODS[0]) and method in layers.preset_names()
    return method if named else FIRST


def preset_datasets(preset: str) -> list[str]:
    """The datasets that a preset names itself; usually none."""
    found = layers.preset_layer(preset).values.get("data")
    named = found.get("train") if is_object(found) else None
    return [str(name) for name in named] if is_list(named) else []


def preset_labels(preset: str) -> list[str]:
    """The labels of a preset's settings other than its data, in the order of the form."""
    values = layers.preset_layer(preset).values
    return [
        _forms.label_of(setting.key, setting.path)
        for setting in settings.walk()
        if setting.path != "data.train" and settings.value_at(values, setting.path) is not None
    ]


def has_recipe(fields: Mapping[str, Any]) -> bool:
    """Whether any field sets how to train."""
    return any(map(_is_recipe, fields))


def _is_recipe(path: str) -> bool:
    return not path.startswith(("model.", "data.")) or path.startswith("data.replay.")
