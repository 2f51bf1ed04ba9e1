"""Adafactor of transformers, with a learning rate from outside and no first moment."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import Adafactor

from tunery.config.optimizers.adafactor import AdafactorConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer


def make(config: AdafactorConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer."""
    made = TorchOptimizer(config, groups)
    made.use(
        Adafactor, list(made.masters),
        clip_threshold=config.clip_threshold, decay_rate=-config.decay_exponent,
        scale_parameter=config.scale_parameter, relative_step=False,
    )  # fmt: skip
    made.ready()
    return made
