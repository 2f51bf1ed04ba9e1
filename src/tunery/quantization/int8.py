"""The ``int8`` quantization: LLM.int8() of bitsandbytes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from tunery.config.quantization.int8 import Int8Config
from tunery.quantization.base import LinearQuantizer


class Int8(LinearQuantizer):
    """Weights per row and activations per token as 8-bit integers, outlier columns apart."""

    converts = (nn.Linear, Conv1D)

    def settings(self, kept: list[str], dtype: torch.dtype) -> Any:
        """8 bits per weight."""
        config = self.config
        assert isinstance(config, Int8Config)
        return BitsAndBytesConfig(
            load_in_8bit=True,
            llm_int8_threshold=config.outlier_threshold,
            llm_int8_skip_modules=kept,
        )
