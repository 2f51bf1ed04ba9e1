"""StableAdamW of pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Sequence

from pytorch_optimizer import StableAdamW

from tunery.config.optimizers.stable_adamw import StableAdamWConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer


def make(config: StableAdamWConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer."""
    made = TorchOptimizer(config, groups)
    made.use(
        StableAdamW, list(made.masters),
        betas=config.betas, eps=config.epsilon, kahan_sum=False,
    )  # fmt: skip
    made.ready()
    return made
