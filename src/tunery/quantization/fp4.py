"""The ``fp4`` quantization."""

from __future__ import annotations

from tunery.quantization.bitsandbytes import FourBitQuantizer


class FP4(FourBitQuantizer):
    """4-bit floating point: a sign, two exponent bits and one mantissa bit."""

    format = "fp4"
