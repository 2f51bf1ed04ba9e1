"""Muon (Jordan et al. 2024) on hidden matrices, AdamW on everything else; both from torch.

Muon updates the matrices, except those as tall or wide as the vocabulary (embeddings, the output
projection), where an orthogonal step has no meaning. AdamW updates these and all vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tunery.config.optimizers.muon import MuonConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer

VOCABULARY = 16_384
"""A dimension of at least this size is taken as the vocabulary; hidden sizes here are smaller."""


def make(config: MuonConfig, groups: Sequence[ParamGroup]) -> TorchOptimizer:
    """Make the optimizer.

    Args:
        config: Momentum, iterations, decay, clipping.
        groups: The trained parameters.
    """
    made = TorchOptimizer(config, groups)
    hidden = [
        name
        for name, master in made.masters.items()
        if master.dim() == 2 and max(master.shape) < VOCABULARY
    ]
    made.use(
        torch.optim.Muon,
        hidden,
        momentum=config.momentum,
        ns_steps=config.ns_steps,
        adjust_lr_fn="match_rms_adamw",
    )
    made.use(torch.optim.AdamW, [name for name in made.masters if name not in hidden])
    made.ready()
    return made
