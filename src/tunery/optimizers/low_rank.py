"""Adam on projections of the gradients of large matrices, AdamW on all other parameters.

M rows, N columns, R rank. A gradient ``[M, N]`` is projected along its smaller side, to ``[R, N]``
or ``[M, R]``; ``LowRank`` transposes so that the smaller side is always the first.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tunery.config.optimizers.low_rank import LowRank
from tunery.optimizers.base import ParamGroup, TorchOptimizer


def low_rank(make: Any, config: LowRank, groups: Sequence[ParamGroup], **more: Any) -> Any:
    """Make an optimizer from a class below."""
    made = TorchOptimizer(config, groups)
    made.use(
        make, list(made.masters), betas=config.betas, eps=config.epsilon,
        rank=config.projection_rank, interval=config.update_interval, **more,
    )  # fmt: skip
    return made


class LowRankAdamW(torch.optim.Optimizer):
    """AdamW that sees large matrices through a projection; states exist from the start.

    Args:
        params: Parameter groups.
        betas: Decay rates of the two moving averages.
        eps: Avoids a division by zero.
        rank: R; a matrix whose smaller side is not larger is not projected.
        interval: Steps between two projections.
    """

    def __init__(
        self, params: Any, *, betas: tuple[float, float], eps: float, rank: int, interval: int
    ) -> None:
        super().__init__(params, {"betas": betas, "eps": eps})
        self.rank, self.interval = rank, interval
        for group in self.param_groups:
            group["step"] = 0
            for param in group["params"]:
                self.state[param] = self._begin(param)

    def _begin(self, param: Tensor) -> dict[str, Tensor]:
        if param.dim() != 2 or min(param.shape) <= self.rank:
            return {"exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)}
        small, large = sorted(param.shape)
        return {
            "exp_avg": param.new_zeros(self.rank, large),
            "exp_avg_sq": param.new_zeros(self.rank, large),
            "projection": param.new_zeros(self.rank, small),
            **self.begin_more(param),
        }

    def begin_more(self, param: Tensor) -> dict[str, Tensor]:
        """Further states of a projected matrix."""
        return {}

    @abstractmethod
    def projection(self, grad_MN: Tensor, number: int, step: int) -> Tensor:
        """A new projection ``[R, M]`` for a gradient with M <= N.

        Args:
            grad_MN: The gradient.
            number: Index of the parameter.
            step: The step, from 1; with the index it determines a random projection.
        """

    @abstractmethod
    def update(
        self, grad_MN: Tensor, low_RN: Tensor, adam_RN: Tensor, state: dict[str, Tensor]
    ) -> Tensor:
        """The update ``[M, N]``, to be multiplied by the learning rate.

        Args:
            grad_MN: The gradient.
            low_RN: Its projection.
            adam_RN: What Adam makes of the projection.
            state: The states of the matrix, which may be changed.
        """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        number = 0
        for group in self.param_groups:
            renew = group["step"] % self.interval == 0
            group["step"] += 1
            for param in group["params"]:
                state, grad = self.state[param], param.grad
                if "projection" not in state:
                    update = _adam(grad, state, group)
                else:
                    tall = grad.shape[0] > grad.shape[1]
                    grad = grad.t() if tall else grad
                    if renew:
                        state["projection"].copy_(self.projection(grad, number, group["step"]))
                    low = state["projection"] @ grad
                    update = self.update(grad, low, _adam(low, state, group), state)
                    update = update.t() if tall else update
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(update, alpha=-group["lr"])
                number += 1


def _adam(grad: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
    """Adam's direction, with bias correction."""
    (beta1, beta2), step = group["betas"], group["step"]
    average, square = state["exp_avg"], state["exp_avg_sq"]
    average.lerp_(grad, 1 - beta1)
    square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    root = math.sqrt(1 - beta2**step)
    return average.div(1 - beta1**step).div_(square.sqrt().div_(root).add_(group["eps"]))
