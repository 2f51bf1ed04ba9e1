"""Adam-mini (Zhang et al. 2024): one second moment per row of a matrix, one per vector.

A row holds the weights of one output neuron, or of one token in the embeddings. The paper uses
whole heads for queries and keys; rows are finer, need no knowledge of the model and also fit the
matrices of an adapter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from tunery.config.optimizers.adam_mini import AdamMiniConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer


def make(config: AdamMiniConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer."""
    made = TorchOptimizer(config, groups)
    made.use(AdamMini, list(made.masters), betas=config.betas, eps=config.epsilon)
    return made


class AdamMini(torch.optim.Optimizer):
    """Adam-mini with decoupled weight decay; states exist from the start."""

    def __init__(self, params: Any, *, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, {"betas": betas, "eps": eps})
        for group in self.param_groups:
            group["step"] = 0
            for param in group["params"]:
                shape = (*param.shape[:-1], 1)
                self.state[param] = {
                    "exp_avg": torch.zeros_like(param),
                    "exp_avg_sq": param.new_zeros(shape),
                }

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            group["step"] += 1
            (beta1, beta2), rate = group["betas"], group["lr"]
            size = rate / (1 - beta1 ** group["step"])
            root = math.sqrt(1 - beta2 ** group["step"])
            for param in group["params"]:
                average, square = self.state[param].values()
                average.lerp_(param.grad, 1 - beta1)
                mean = param.grad.square().mean(dim=-1, keepdim=True)
                square.lerp_(mean, 1 - beta2)
                param.mul_(1 - rate * group["weight_decay"])
                param.addcdiv_(average, square.sqrt().div_(root).add_(group["eps"]), value=-size)
