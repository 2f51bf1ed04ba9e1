"""Optimizers of bitsandbytes with 8-bit states, which may be paged out of a GPU's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunery.config.optimizers.eight_bit import EightBit
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.optimizers.base import ParamGroup, TorchOptimizer

MAPS = ("qmap1", "qmap2")
"""The values that the 8-bit codes stand for: constant, and one tensor for all parameters."""


def eight_bit(
    make: Any, config: EightBit, groups: Sequence[ParamGroup], **settings: Any
) -> TorchOptimizer:
    """Make an optimizer with 8-bit states.

    Args:
        make: A class of ``bitsandbytes.optim``.
        config: Paging, weight decay, clipping.
        groups: The trained parameters.
        settings: Further arguments of the class.

    Raises:
        ConfigError: Paging is requested, and the parameters are not on a CUDA GPU.
    """
    made = TorchOptimizer(config, groups)
    device = next(iter(made.masters.values())).device
    if config.paged and device.type != "cuda":
        raise ConfigError(
            t("optim.paged needs a CUDA GPU, but this run trains on {device}.", device=device.type),
            fix=t("Remove this setting; the states are in the computer's memory anyway."),
        )
    names = list(made.masters)
    made.use(make, names, fixed=MAPS, optim_bits=8, is_paged=config.paged, **settings)
    made.ready()
    return made
