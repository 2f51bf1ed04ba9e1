"""The light half of AdEMAMix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tunery.config.base import Finding
from tunery.config.optimizers.base import OptimizerKind, check_betas
from tunery.shape import Trained


class AdEMAMixConfig(OptimizerKind):
    """AdEMAMix: AdamW with a second, slow average of the gradient."""

    build = "tunery.optimizers.ademamix:make"
    extra = "optimizers"
    packages = ("pytorch_optimizer",)

    type: Literal["ademamix"] = "ademamix"
    """AdEMAMix (Pagliardini et al. 2024)."""

    betas: tuple[float, float, float] = (0.9, 0.999, 0.9999)
    """Decay rates of the fast average, the squared gradients and the slow average."""

    epsilon: float = Field(default=1e-8, gt=0)
    """Small constant that avoids division by zero."""

    slow_alpha: float = Field(default=5.0, ge=0)
    """Weight of the slow average."""

    slow_warmup_steps: int | None = Field(default=None, ge=1)
    """Steps in which slow_alpha and the slow decay rate grow to their values; null: at once."""

    def state_bytes(self, trained: Trained) -> int:
        """Three moving averages in fp32."""
        return 3 * 4 * trained.count

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject decay rates outside their range."""
        yield from super().excludes(config)
        yield from check_betas(self.betas, usual=[0.9, 0.999, 0.9999])
