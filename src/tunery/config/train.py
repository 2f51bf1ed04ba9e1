"""Settings of the loop: how long, how many rows a step, which seed."""

from __future__ import annotations

from pydantic import Field

from tunery.config.base import Section


class TrainConfig(Section):
    """How long training lasts and what one step is."""

    num_epochs: float = Field(default=3.0, gt=0, le=10_000)
    """How many times every row is seen."""

    max_steps: int | None = Field(default=None, ge=1)
    """Train for exactly this many steps, whatever num_epochs says; the rows repeat as needed."""

    batch_size: int = Field(default=16, ge=1, le=65_536)
    """Rows in one optimizer step, over all devices; the micro batch is derived from memory."""

    micro_batch_tokens: int | None = Field(default=None, ge=8)
    """Most tokens computed at once on a device; by default derived from memory."""

    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Seed of everything random in the run: split, order, adapter weights, dropout."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: slower, much less memory."""

    num_threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads; by default the cores that this process may use."""

    max_non_finite: int = Field(default=3, ge=1, le=1000)
    """Steps in a row with a non-finite loss or gradient after which the run fails."""

    stop_grace_seconds: float = Field(default=30.0, gt=0, le=3600)
    """How long a stop may take to save before the process is killed."""
