"""A method and an adapter that somebody adds: a config class each, in its section's union."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import Field

from tunery.adapters.base import ADAPTERS
from tunery.config import settings
from tunery.config.adapter import FreezeConfig, FullConfig, LoraConfig
from tunery.config.base import Section
from tunery.config.config import Config
from tunery.config.method import PretrainConfig, SFTConfig
from tunery.methods.base import METHODS


class ToyAdapter(Section):
    """Train what a toy would train."""

    type: Literal["toy"] = "toy"
    """A toy."""

    wheels: int = Field(default=4, ge=2, le=16)
    """How many wheels it has; 4 is usual."""

    squeaks: bool = False
    """Whether it makes a noise."""


class ToyMethod(Section):
    """Learn to play."""

    type: Literal["play"] = "play"
    """Playing."""

    joy_seconds: float = Field(default=1.5, gt=0)
    """How long it laughs."""


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register both: what an edit of the two union lines and the two registry lines does."""
    _choose("adapter", LoraConfig | FullConfig | FreezeConfig | ToyAdapter)
    _choose("method", SFTConfig | PretrainConfig | ToyMethod)
    for registry, name in ((ADAPTERS, "toy"), (METHODS, "play")):
        monkeypatch.setitem(registry._entries, name, object())
    yield
    _choose("adapter", LoraConfig | FullConfig | FreezeConfig)
    _choose("method", SFTConfig | PretrainConfig)


def _choose(section: str, union: Any) -> None:
    info = Config.model_fields[section]
    info.annotation = union
    info.discriminator = "type"
    Config.model_rebuild(force=True)
    for cached in (settings.walk, settings.groups, settings.by_path, settings.tagged):
        cached.cache_clear()
