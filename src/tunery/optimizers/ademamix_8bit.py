"""AdEMAMix of bitsandbytes with 8-bit states."""

from __future__ import annotations

from collections.abc import Sequence

import bitsandbytes

from tunery.config.optimizers.ademamix_8bit import AdEMAMix8bitConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer
from tunery.optimizers.eight_bit import eight_bit


def make(config: AdEMAMix8bitConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer."""
    return eight_bit(
        bitsandbytes.optim.AdEMAMix, config, groups,
        betas=config.betas, eps=config.epsilon, alpha=config.slow_alpha,
        t_alpha=config.slow_warmup_steps, t_beta3=config.slow_warmup_steps,
    )  # fmt: skip
