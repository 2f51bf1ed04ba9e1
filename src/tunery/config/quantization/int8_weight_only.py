"""The light half of 8-bit integer weights (torchao)."""

from __future__ import annotations

from typing import Literal

from tunery.config.quantization.base import Quantized


class Int8WeightOnlyConfig(Quantized):
    """8-bit integer weights, activations as model.dtype (torchao)."""

    build = "tunery.quantization.int8_weight_only:Int8WeightOnly"
    packages = ("torchao",)

    type: Literal["int8_weight_only"] = "int8_weight_only"
    """8-bit integer weights only."""

    def layer_bytes(self, weights: int, rows: int, width: int) -> int:
        """One byte per weight, and a scale per row in the compute dtype."""
        return weights + width * rows
