"""The ``fp8_weight_only`` quantization of torchao."""

from __future__ import annotations

from typing import Any

import torch
from torchao.quantization import Float8WeightOnlyConfig
from transformers import TorchAoConfig

from tunery.quantization.base import LinearQuantizer


class FP8WeightOnly(LinearQuantizer):
    """8-bit floating point weights (e4m3) with a scale per row."""

    def settings(self, kept: list[str], dtype: torch.dtype) -> Any:
        """8 bits per weight."""
        return TorchAoConfig(Float8WeightOnlyConfig(), modules_to_not_convert=kept)
