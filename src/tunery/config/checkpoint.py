"""Settings of what is saved on the way."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunery.config.base import Section


class CheckpointConfig(Section):
    """When the run is saved, and how many saves are kept."""

    every: Literal["epoch", "never"] | Annotated[int, Field(ge=1)] = "epoch"
    """When to save: every epoch, never (only at a stop and at the end), or every N steps."""

    keep: int = Field(default=2, ge=1, le=10_000)
    """How many checkpoints are kept; the newest, the best and pinned ones always are."""

    every_minutes: float | None = Field(default=15.0, gt=0)
    """Save also after this many minutes without a save."""
