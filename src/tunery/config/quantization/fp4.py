"""The light half of the 4-bit float format of bitsandbytes."""

from __future__ import annotations

from typing import Literal

from tunery.config.quantization.four_bit import FourBit


class FP4Config(FourBit):
    """4-bit floating point (bitsandbytes); nf4 is usually more precise."""

    build = "tunery.quantization.fp4:FP4"

    type: Literal["fp4"] = "fp4"
    """4-bit floating point."""
