"""A method and an adapter that somebody adds: a config class each, in its section's union."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Union

import pytest
from pydantic import Field

from tunery.config import settings
from tunery.config.adapters import ADAPTERS, AdapterKind
from tunery.config.config import Config
from tunery.config.methods import METHODS, MethodKind
from tunery.measures import LOSS, Measure
from tunery.shape import ModelShape


class ToyAdapter(AdapterKind):
    """Train what a toy would train."""

    build = "tests.web.toy:no_toy"
    writes = "adapter"
    learning_rates = (1e-4, 1e-3)

    type: Literal["toy"] = "toy"
    """A toy."""

    wheels: int = Field(default=4, ge=2, le=16)
    """How many wheels it has; 4 is usual."""

    squeaks: bool = False
    """Whether it makes a noise."""

    def trained(self, shape: ModelShape) -> int:
        """Its wheels."""
        return self.wheels


class ToyMethod(MethodKind):
    """Learn to play."""

    build = "tests.web.toy:no_toy"
    rows = "conversation"
    measures = (
        LOSS,
        Measure("laughter", "Laughter", unit="%", better="high"),
        Measure("bruises", "Bruises", unit="knees", chart=False),
    )
    best = "laughter"
    unit = "games"

    type: Literal["play"] = "play"
    """Playing."""

    joy_seconds: float = Field(default=1.5, gt=0)
    """How long it laughs."""


@pytest.fixture
def toys() -> Iterator[None]:
    """Add both: what an edit of the two union lines does."""
    _choose("adapter", Union[(*ADAPTERS, ToyAdapter)])
    _choose("method", Union[(*METHODS, ToyMethod)])
    yield
    _choose("adapter", Union[ADAPTERS])  # noqa: UP007
    _choose("method", Union[METHODS])  # noqa: UP007


def _choose(section: str, union: Any) -> None:
    info = Config.model_fields[section]
    info.annotation = union
    info.discriminator = "type"
    Config.model_rebuild(force=True)
    for cached in (settings.walk, settings.groups, settings.by_path, settings.tagged):
        cached.cache_clear()
