"""The light half of training only the last layers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.adapters.base import AdapterKind
from tunery.shape import ModelShape


class FreezeConfig(AdapterKind):
    """Only the last layers are trained; all others stay frozen."""

    build = "tunery.adapters.freeze:Freeze"
    writes = "model"
    learning_rates = (1e-5, 5e-5)

    type: Literal["freeze"] = "freeze"
    """Train only some layers."""

    num_layers: int = Field(default=2, ge=1)
    """Number of last decoder layers to train."""

    extra_modules: list[str] = Field(default_factory=list)
    """Additional modules to train, by name, such as lm_head or model.norm."""

    @property
    def names_modules(self) -> bool:
        """Its layers are counted from the end, and the model must have that many."""
        return True

    def trained(self, shape: ModelShape) -> int:
        """Parameters of the last blocks; extra modules are unknown before the model is loaded."""
        return self.kept_blocks(shape) * shape.block_parameters()

    def kept_blocks(self, shape: ModelShape) -> int:
        """The gradient only flows down to the first trained block."""
        return min(self.num_layers, shape.num_layers)
