"""The light half of the NF4 format of QLoRA (Dettmers et al. 2023)."""

from __future__ import annotations

from typing import Literal

from tunery.config.quantization.four_bit import FourBit


class NF4Config(FourBit):
    """4-bit NormalFloat (bitsandbytes), the format of QLoRA."""

    build = "tunery.quantization.nf4:NF4"

    type: Literal["nf4"] = "nf4"
    """4-bit NormalFloat."""
