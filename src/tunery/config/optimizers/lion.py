"""The light half of Lion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from tunery.config.base import Finding
from tunery.config.optimizers.base import OptimizerKind, check_betas
from tunery.shape import Trained


class LionConfig(OptimizerKind):
    """Lion: the sign of an average; a third of AdamW's learning rate or less."""

    build = "tunery.optimizers.lion:make"
    extra = "optimizers"
    packages = ("pytorch_optimizer",)
    known_as = "lion_32bit lion_pytorch"

    type: Literal["lion"] = "lion"
    """Lion (Chen et al. 2023)."""

    betas: tuple[float, float] = (0.9, 0.99)
    """Lion's decay rates: of the update's mixture, and of the moving average."""

    def state_bytes(self, trained: Trained) -> int:
        """One moving average in fp32."""
        return 4 * trained.count

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject decay rates outside their range."""
        yield from super().excludes(config)
        yield from check_betas(self.betas, usual=[0.9, 0.99])
