"""The light half of GaLore."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.optimizers.low_rank import LowRank


class GaLoreConfig(LowRank):
    """GaLore: AdamW in the main directions of each gradient, full training with little memory."""

    build = "tunery.optimizers.galore:make"
    known_as = "use_galore galore_adamw galore_adamw_layerwise"

    type: Literal["galore"] = "galore"  # pyright: ignore[reportIncompatibleVariableOverride]
    """GaLore (Zhao et al. 2024)."""

    scale: float = Field(default=0.25, gt=0)
    """Factor on the updates of projected matrices."""
