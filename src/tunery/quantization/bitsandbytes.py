"""What the kinds that use bitsandbytes share: https://github.com/bitsandbytes-foundation."""

from __future__ import annotations

from typing import Any

import bitsandbytes
import torch
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from tunery.config.quantization.four_bit import FourBit
from tunery.models.load import DTYPES
from tunery.quantization.base import LinearQuantizer


class FourBitQuantizer(LinearQuantizer):
    """Quantizes to one of the 4-bit formats, named by ``format``."""

    converts = (nn.Linear, Conv1D)
    format: str

    def settings(self, kept: list[str], dtype: torch.dtype) -> Any:
        """4 bits per weight."""
        config = self.config
        assert isinstance(config, FourBit)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.format,
            bnb_4bit_use_double_quant=config.double_quantization,
            bnb_4bit_compute_dtype=DTYPES.get(config.compute_dtype, dtype),
            llm_int8_skip_modules=kept,
        )

    def after_load(self, model: nn.Module) -> None:
        """Keep one layout of the weights, in which gradients can be computed.

        On processors with AVX512-BF16, the first forward pass in eval mode repacks the weights of
        a layer, rounds its scales to bf16, and every later pass uses an operation without a
        gradient with respect to its input (bitsandbytes 0.50), so that training after an
        evaluation would silently compute wrong gradients.
        """
        for module in model.modules():
            if isinstance(module, bitsandbytes.nn.Linear4bit):
                module.support_avx512bf16_for_cpu = False
