"""Lion of bitsandbytes with 8-bit states."""

from __future__ import annotations

from collections.abc import Sequence

import bitsandbytes

from tunery.config.optimizers.lion_8bit import Lion8bitConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer
from tunery.optimizers.eight_bit import eight_bit


def make(config: Lion8bitConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer."""
    return eight_bit(bitsandbytes.optim.Lion, config, groups, betas=config.betas)
