"""What the 4-bit formats of bitsandbytes have in common."""

from __future__ import annotations

from typing import Literal

from tunery.config.quantization.base import Quantized

BLOCK = 64
"""Weights that share one scale."""
SCALES_PER_BLOCK = 256
"""Scales that share one scale of their own with double quantization."""


class FourBit(Quantized):
    """Two weights per byte, and one scale per block of weights."""

    packages = ("bitsandbytes",)

    double_quantization: bool = True
    """Quantize the scales too, which saves 0.4 bits per weight."""

    compute_dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the products in quantized layers; auto uses model.dtype."""

    def layer_bytes(self, weights: int, rows: int, width: int) -> int:
        """Half a byte per weight, and the scales: fp32, or one byte each if quantized too."""
        blocks = weights / BLOCK
        scales = blocks * (1 + 4 / SCALES_PER_BLOCK) if self.double_quantization else blocks * 4
        return int(weights / 2 + scales)
