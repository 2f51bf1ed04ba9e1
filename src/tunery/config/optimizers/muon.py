"""The light half of Muon."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.optimizers.base import OptimizerKind
from tunery.shape import Trained


class MuonConfig(OptimizerKind):
    """Muon: orthogonal updates for hidden matrices, AdamW for everything else."""

    build = "tunery.optimizers.muon:make"
    known_as = "use_muon"

    type: Literal["muon"] = "muon"
    """Muon (Jordan et al. 2024), scaled to AdamW's learning rates."""

    momentum: float = Field(default=0.95, ge=0.0, lt=1.0)
    """Momentum: how much of the previous update direction is kept."""

    ns_steps: int = Field(default=5, ge=1, le=20)
    """Newton-Schulz iterations used to orthogonalize an update."""

    def state_bytes(self, trained: Trained) -> int:
        """One moving average per matrix weight, and nearly all weights are in matrices."""
        return 4 * trained.count
