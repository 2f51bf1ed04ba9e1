"""GaLore (Zhao et al. 2024): AdamW within the main singular directions of each gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tunery.config.optimizers.galore import GaLoreConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer
from tunery.optimizers.low_rank import LowRankAdamW, low_rank


def make(config: GaLoreConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer."""
    return low_rank(GaLore, config, groups, scale=config.scale)


class GaLore(LowRankAdamW):
    """The update is made in the projection and brought back, so it has the rank of it."""

    def __init__(self, params: Any, *, scale: float, **settings: Any) -> None:
        self.scale = scale
        super().__init__(params, **settings)

    def projection(self, grad_MN: Tensor, number: int, step: int) -> Tensor:
        """The first left singular vectors."""
        left_MM, _, _ = torch.linalg.svd(grad_MN, full_matrices=False)
        return left_MM[:, : self.rank].t()

    def update(
        self, grad_MN: Tensor, low_RN: Tensor, adam_RN: Tensor, state: dict[str, Tensor]
    ) -> Tensor:
        """Adam's update, brought back."""
        return (state["projection"].t() @ adam_RN).mul_(self.scale)
