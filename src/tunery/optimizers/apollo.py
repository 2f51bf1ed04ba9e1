"""APOLLO (Zhu et al. 2024): the gradient, scaled as Adam scales a random projection of it.

The growth of the scaled gradient's norm is limited to ``GROWTH`` per step, as in the paper (from
Fira, Chen et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tunery.config.optimizers.apollo import ApolloConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer
from tunery.optimizers.low_rank import LowRankAdamW, low_rank

GROWTH = 1.01
TINY = 1e-8


def make(config: ApolloConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer."""
    per_channel = config.scale_per == "channel"
    return low_rank(Apollo, config, groups, scale=config.scale, per_channel=per_channel)


class Apollo(LowRankAdamW):
    """The update has full rank; only the scaling is learned from the projection."""

    def __init__(self, params: Any, *, scale: float, per_channel: bool, **settings: Any) -> None:
        self.factor, self.per_channel = scale**0.5, per_channel
        super().__init__(params, **settings)

    def begin_more(self, param: Tensor) -> dict[str, Tensor]:
        """The norm of the last scaled gradient; 0 before the first step."""
        return {"last_norm": param.new_zeros(())}

    def projection(self, grad_MN: Tensor, number: int, step: int) -> Tensor:
        """Normal random numbers that depend only on the parameter and the step."""
        generator = torch.Generator().manual_seed(step * 1_000_003 + number)
        shape = (self.rank, grad_MN.shape[0])
        return torch.randn(shape, generator=generator).to(grad_MN) / self.rank**0.5

    def update(
        self, grad_MN: Tensor, low_RN: Tensor, adam_RN: Tensor, state: dict[str, Tensor]
    ) -> Tensor:
        """The gradient times a factor per channel or for the whole matrix."""
        dim = 0 if self.per_channel else None
        norm = torch.linalg.vector_norm
        factor = norm(adam_RN, dim=dim) / (norm(low_RN, dim=dim) + TINY)
        scaled = grad_MN * factor
        size, last = norm(scaled), state["last_norm"]
        limit = torch.where(last > 0, torch.minimum(size, GROWTH * last), size)
        last.copy_(limit)
        return scaled.mul_(limit / (size + TINY)).mul_(self.factor)
