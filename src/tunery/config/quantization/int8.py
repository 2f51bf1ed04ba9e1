"""The light half of LLM.int8() (Dettmers et al. 2022)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.quantization.base import Quantized


class Int8Config(Quantized):
    """8-bit integer weights and activations (bitsandbytes, LLM.int8())."""

    build = "tunery.quantization.int8:Int8"
    packages = ("bitsandbytes",)

    type: Literal["int8"] = "int8"
    """8-bit integers."""

    outlier_threshold: float = Field(default=6.0, ge=0.0)
    """Columns with an activation above this value are not quantized; 0 quantizes all columns."""

    def layer_bytes(self, weights: int, rows: int, width: int) -> int:
        """One byte per weight, and an fp32 scale per row."""
        return weights + 4 * rows
