"""The light half of full training."""

from __future__ import annotations

from typing import Literal

from tunery.config.adapters.base import AdapterKind
from tunery.shape import ModelShape


class FullConfig(AdapterKind):
    """Every weight is trained."""

    build = "tunery.adapters.full:Full"
    writes = "model"
    learning_rates = (1e-5, 5e-5)

    type: Literal["full"] = "full"
    """Train every weight."""

    def trained(self, shape: ModelShape) -> int:
        """All parameters."""
        return shape.total_parameters
