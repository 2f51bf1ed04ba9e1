"""Which weights are trained: one config class an adapter, chosen by ``adapter.type``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunery.config.base import Section


class LoraConfig(Section):
    """Low-rank matrices beside frozen weights: small, fast, easy to take off again."""

    type: Literal["lora"] = "lora"
    """Low-rank adaptation (LoRA)."""

    rank: int = Field(default=8, ge=1, le=4096)
    """Rank of the low-rank matrices; 8 to 64 is usual, more learns more and weighs more."""

    alpha: float = Field(default=16.0, gt=0)
    """Scale: the update is multiplied by alpha / rank; twice the rank is usual."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the adapter's inputs set to zero while training."""

    target_modules: str | list[str] = "all-linear"
    """Linear layers that get an adapter: all-linear, or names such as [q_proj, v_proj]."""


class FullConfig(Section):
    """Every weight is trained."""

    type: Literal["full"] = "full"
    """Train every weight."""


class FreezeConfig(Section):
    """Only the last layers are trained; the rest stays as it is."""

    type: Literal["freeze"] = "freeze"
    """Train only some layers."""

    num_layers: int = Field(default=2, ge=1)
    """How many of the last decoder layers are trained."""

    extra_modules: list[str] = Field(default_factory=list)
    """Further modules to train, by name, such as lm_head or model.norm."""


AdapterConfig = Annotated[LoraConfig | FullConfig | FreezeConfig, Field(discriminator="type")]
