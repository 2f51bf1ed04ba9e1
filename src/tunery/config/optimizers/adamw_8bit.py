"""The light half of AdamW with 8-bit states."""

from __future__ import annotations

from typing import Literal

from tunery.config.optimizers.adamw import AdamWConfig
from tunery.config.optimizers.eight_bit import EightBit
from tunery.shape import Trained


class AdamW8bitConfig(EightBit, AdamWConfig):
    """AdamW with states in 8 bits: a quarter of their memory."""

    build = "tunery.optimizers.adamw_8bit:make"
    known_as = "adamw_bnb_8bit adamw_torch_8bit ao_adamw_8bit paged_adamw_8bit:optim.paged=true"

    type: Literal["adamw_8bit"] = "adamw_8bit"  # pyright: ignore[reportIncompatibleVariableOverride]
    """8-bit AdamW (Dettmers et al. 2021)."""

    def state_bytes(self, trained: Trained) -> int:
        """Two moving averages."""
        return 2 * self.average_bytes(trained)
