"""The ``nf4`` quantization."""

from __future__ import annotations

from tunery.quantization.bitsandbytes import FourBitQuantizer


class NF4(FourBitQuantizer):
    """4-bit NormalFloat: 16 levels that are quantiles of a normal distribution."""

    format = "nf4"
