"""AdamW of bitsandbytes with 8-bit states."""

from __future__ import annotations

from collections.abc import Sequence

import bitsandbytes

from tunery.config.optimizers.adamw_8bit import AdamW8bitConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer
from tunery.optimizers.eight_bit import eight_bit


def make(config: AdamW8bitConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer."""
    adamw = bitsandbytes.optim.AdamW
    return eight_bit(adamw, config, groups, betas=config.betas, eps=config.epsilon)
