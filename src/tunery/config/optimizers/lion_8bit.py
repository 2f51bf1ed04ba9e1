"""The light half of Lion with 8-bit states."""

from __future__ import annotations

from typing import Literal

from tunery.config.optimizers.eight_bit import EightBit
from tunery.config.optimizers.lion import LionConfig
from tunery.shape import Trained


class Lion8bitConfig(EightBit, LionConfig):
    """Lion with its average in 8 bits: the smallest state with a number per weight."""

    build = "tunery.optimizers.lion_8bit:make"
    known_as = "paged_lion_8bit:optim.paged=true"

    type: Literal["lion_8bit"] = "lion_8bit"  # pyright: ignore[reportIncompatibleVariableOverride]
    """8-bit Lion."""

    def state_bytes(self, trained: Trained) -> int:
        """One moving average."""
        return self.average_bytes(trained)
