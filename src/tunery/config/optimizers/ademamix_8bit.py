"""The light half of AdEMAMix with 8-bit states."""

from __future__ import annotations

from typing import Literal

from tunery.config.optimizers.ademamix import AdEMAMixConfig
from tunery.config.optimizers.eight_bit import EightBit
from tunery.shape import Trained


class AdEMAMix8bitConfig(EightBit, AdEMAMixConfig):
    """AdEMAMix with its averages in 8 bits."""

    build = "tunery.optimizers.ademamix_8bit:make"
    known_as = "paged_ademamix_8bit:optim.paged=true"

    type: Literal["ademamix_8bit"] = "ademamix_8bit"  # pyright: ignore[reportIncompatibleVariableOverride]
    """8-bit AdEMAMix."""

    def state_bytes(self, trained: Trained) -> int:
        """Three moving averages."""
        return 3 * self.average_bytes(trained)
