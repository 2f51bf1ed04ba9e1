"""The light half of AdamW."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tunery.config.base import Finding
from tunery.config.optimizers.base import OptimizerKind, check_betas
from tunery.shape import Trained


class AdamWConfig(OptimizerKind):
    """AdamW, the default."""

    build = "tunery.optimizers.adamw:FlatAdamW"
    known_as = "adamw_torch adamw_torch_fused adamw_hf optimi_adamw"

    type: Literal["adamw"] = "adamw"
    """AdamW (Loshchilov and Hutter 2019)."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's two moving averages."""

    epsilon: float = Field(default=1e-8, gt=0)
    """Small constant that avoids division by zero."""

    def state_bytes(self, trained: Trained) -> int:
        """Two moving averages in fp32."""
        return 2 * 4 * trained.count

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject decay rates outside their range."""
        yield from super().excludes(config)
        yield from check_betas(self.betas, usual=[0.9, 0.999])
