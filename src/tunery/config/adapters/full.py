"""The light half of full training."""

from __future__ import annotations

from typing import Literal

from tunery.config.adapters.base import AdapterKind
from tunery.shape import Matrix, ModelShape


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

    def matrices(self, shape: ModelShape) -> tuple[Matrix, ...]:
        """Those of the blocks, the embeddings and the output layer."""
        ends = Matrix(shape.vocab, shape.hidden, 1 if shape.tied else 2, in_block=False)
        return (*super().matrices(shape), ends)
