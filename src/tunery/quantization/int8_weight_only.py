"""The ``int8_weight_only`` quantization of torchao."""

from __future__ import annotations

from typing import Any

import torch
from torchao.quantization import Int8WeightOnlyConfig
from transformers import TorchAoConfig

from tunery.quantization.base import LinearQuantizer


class Int8WeightOnly(LinearQuantizer):
    """8-bit integer weights with a scale per row."""

    def settings(self, kept: list[str], dtype: torch.dtype) -> Any:
        """8 bits per weight."""
        return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=kept)
