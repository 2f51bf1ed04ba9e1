"""The light half of 8-bit float weights (torchao)."""

from __future__ import annotations

from typing import Literal

from tunery.config.quantization.base import Quantized


class FP8WeightOnlyConfig(Quantized):
    """8-bit floating point weights (e4m3), activations as model.dtype (torchao)."""

    build = "tunery.quantization.fp8_weight_only:FP8WeightOnly"
    packages = ("torchao",)

    type: Literal["fp8_weight_only"] = "fp8_weight_only"
    """8-bit floating point weights only."""

    def layer_bytes(self, weights: int, rows: int, width: int) -> int:
        """One byte per weight, and a scale per row in fp32."""
        return weights + 4 * rows
