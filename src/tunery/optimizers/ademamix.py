"""AdEMAMix of pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Sequence

from pytorch_optimizer import AdEMAMix

from tunery.config.optimizers.ademamix import AdEMAMixConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer


def make(config: AdEMAMixConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer."""
    made = TorchOptimizer(config, groups)
    made.use(
        AdEMAMix, list(made.masters),
        betas=config.betas, eps=config.epsilon, alpha=config.slow_alpha,
        t_alpha_beta3=config.slow_warmup_steps, weight_decouple=True,
    )  # fmt: skip
    made.ready()
    return made
