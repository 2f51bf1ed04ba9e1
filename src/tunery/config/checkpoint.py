"""Settings for saving checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunery.config.base import Section


class CheckpointConfig(Section):
    """When to save checkpoints, and how many to keep."""

    every: Literal["epoch", "never"] | Annotated[int, Field(ge=1)] = "epoch"
    """When to save: every epoch, never (only when stopping and at the end), or every N steps."""

    keep: int = Field(default=2, ge=1, le=10_000)
    """Number of checkpoints to keep; the newest, the best and pinned ones are always kept."""

    every_minutes: float | None = Field(default=15.0, gt=0)
    """Also save after this many minutes without a save."""
