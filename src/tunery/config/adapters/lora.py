"""The light half of LoRA: its settings and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tunery.config.adapters.base import AdapterKind
from tunery.config.base import Finding
from tunery.i18n import t
from tunery.shape import ModelShape


class LoraConfig(AdapterKind):
    """Low-rank matrices beside frozen weights: small, fast, easy to take off again."""

    build = "tunery.adapters.lora:Lora"
    writes = "adapter"
    learning_rates = (1e-4, 1e-3)

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

    target_parameters: list[str] = Field(default_factory=list)
    """Stacked expert weights that get an adapter too, such as mlp.experts.gate_up_proj."""

    @property
    def names_modules(self) -> bool:
        """Whether modules are named that a model may not have."""
        return self.target_modules != "all-linear" or bool(self.target_parameters)

    def trained(self, shape: ModelShape) -> int:
        """Two matrices beside each chosen linear layer."""
        linear = shape.linear_shapes()
        wanted = self.target_modules
        names = linear if wanted == "all-linear" else [n for n in linear if n in wanted]
        return shape.num_layers * sum(self.rank * sum(linear[name]) for name in names)

    def kept_bytes(self, shape: ModelShape, width: int) -> int:
        """The low-rank halves."""
        return len(shape.linear_shapes()) * self.rank * width

    def excludes(self, config: Any) -> Iterator[Finding]:
        """An adapter on nothing."""
        if not self.target_modules:
            yield (
                "adapter.target_modules",
                t("adapter.target_modules is empty: no weight would be trained."),
                t("Use all-linear, or names such as [q_proj, v_proj]."),
            )
        if self.target_parameters and self.dropout:
            yield (
                "adapter.dropout",
                t("adapter.dropout and adapter.target_parameters exclude each other."),
                t("Set adapter.dropout to 0."),
            )
