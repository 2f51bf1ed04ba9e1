"""Lion of pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Sequence

from pytorch_optimizer import Lion

from tunery.config.optimizers.lion import LionConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer


def make(config: LionConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer."""
    made = TorchOptimizer(config, groups)
    made.use(Lion, list(made.masters), betas=config.betas)
    made.ready()
    return made
