"""The light half of StableAdamW."""

from __future__ import annotations

from typing import Literal

from tunery.config.optimizers.adamw import AdamWConfig


class StableAdamWConfig(AdamWConfig):
    """StableAdamW: AdamW whose step shrinks when the gradient suddenly grows."""

    build = "tunery.optimizers.stable_adamw:make"
    extra = "optimizers"
    packages = ("pytorch_optimizer",)

    type: Literal["stable_adamw"] = "stable_adamw"  # pyright: ignore[reportIncompatibleVariableOverride]
    """StableAdamW (Wortsman et al. 2023)."""
