"""Settings of the optimizer and of the learning rate over time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.base import Section


class OptimConfig(Section):
    """How large each step is."""

    learning_rate: float = Field(default=2e-4, gt=0, le=1.0)
    """Peak learning rate; 1e-4 to 1e-3 is usual for LoRA, 1e-5 to 5e-5 for full training."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after warm-up."""

    warmup_ratio: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the steps in which the learning rate rises from zero."""

    warmup_steps: int | None = Field(default=None, ge=0)
    """Number of warm-up steps, in place of warmup_ratio."""

    min_learning_rate_ratio: float = Field(default=0.0, ge=0.0, le=1.0)
    """Learning rate at the end, as a share of the peak."""

    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    """Decoupled weight decay of AdamW."""

    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's two averaging factors."""

    epsilon: float = Field(default=1e-8, gt=0)
    """AdamW's small number against division by zero."""

    max_grad_norm: float = Field(default=1.0, ge=0)
    """Gradients longer than this are shortened to it; 0 turns clipping off."""
