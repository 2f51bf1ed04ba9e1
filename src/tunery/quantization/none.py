"""The ``none`` quantization: the base model is loaded as it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tunery.config.quantization import QuantizationKind


class Unquantized:
    """Loads and counts a base model without changing its weights."""

    def __init__(self, config: QuantizationKind) -> None:
        self.config = config

    def load_options(self, skeleton: nn.Module, dtype: torch.dtype) -> dict[str, Any]:
        """No options."""
        return {}

    def after_load(self, model: nn.Module) -> None:
        """Change nothing."""

    def remarks(self, skeleton: nn.Module) -> list[str]:
        """No remarks."""
        return []

    def linear(self, skeleton: nn.Module) -> tuple[int, int]:
        """No layer is quantized."""
        return 0, 0
