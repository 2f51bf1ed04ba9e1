"""The light half of Adam-mini."""

from __future__ import annotations

from typing import Literal

from tunery.config.optimizers.adamw import AdamWConfig
from tunery.shape import Trained


class AdamMiniConfig(AdamWConfig):
    """Adam-mini: one learning rate per row of a matrix, half of AdamW's memory."""

    build = "tunery.optimizers.adam_mini:make"
    known_as = "use_adam_mini"

    type: Literal["adam_mini"] = "adam_mini"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Adam-mini (Zhang et al. 2024)."""

    def state_bytes(self, trained: Trained) -> int:
        """A moving average in fp32, and one number per row."""
        return 4 * trained.count + trained.bytes_by_matrix(lambda m: 4 * m.rows * m.count)
