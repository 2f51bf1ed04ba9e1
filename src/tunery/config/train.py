"""Settings of the training loop: duration, rows per step, seed."""

from __future__ import annotations

from pydantic import Field

from tunery.config.base import Section


class TrainConfig(Section):
    """How long to train, and the size of one step."""

    num_epochs: float = Field(default=3.0, gt=0, le=10_000)
    """Number of passes over the rows."""

    max_steps: int | None = Field(default=None, ge=1)
    """Train for exactly this many steps, regardless of num_epochs; rows repeat as needed."""

    batch_size: int = Field(default=16, ge=1, le=65_536)
    """Rows per optimizer step over all devices; the micro batch is derived from memory."""

    micro_batch_tokens: int | None = Field(default=None, ge=8)
    """Maximum tokens per micro batch on a device; derived from memory by default."""

    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Random seed for split, order, adapter weights and dropout."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: slower, but needs much less memory."""

    num_threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads; default: the cores available to this process."""

    max_non_finite: int = Field(default=3, ge=1, le=1000)
    """Number of consecutive steps with a non-finite loss or gradient before the run fails."""

    stop_grace_seconds: float = Field(default=30.0, gt=0, le=3600)
    """Time allowed for saving when stopping, before the process is killed."""
