"""The light half of Adafactor."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.optimizers.base import OptimizerKind
from tunery.shape import Trained


class AdafactorConfig(OptimizerKind):
    """Adafactor: averages per row and column instead of per weight, almost no memory."""

    build = "tunery.optimizers.adafactor:make"

    type: Literal["adafactor"] = "adafactor"
    """Adafactor (Shazeer and Stern 2018)."""

    decay_exponent: float = Field(default=0.8, gt=0.0, le=1.0)
    """How fast the averages of squared gradients become long; their weight is 1 - step^-this."""

    clip_threshold: float = Field(default=1.0, gt=0)
    """Largest root mean square of an update, before the learning rate."""

    scale_parameter: bool = False
    """Multiply the learning rate by the root mean square of each weight, as in the paper."""

    def state_bytes(self, trained: Trained) -> int:
        """A row and a column of fp32 numbers per matrix."""
        return trained.bytes_by_matrix(lambda m: 4 * (m.rows + m.columns) * m.count)
