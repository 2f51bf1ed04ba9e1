"""The light half of a base model that is not quantized."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from tunery.config.base import Finding
from tunery.config.quantization.base import QuantizationKind


class NoneConfig(QuantizationKind):
    """The base model keeps the number format given by model.dtype."""

    build = "tunery.quantization.none:Unquantized"
    quantizes = False

    type: Literal["none"] = "none"
    """No quantization."""

    def layer_bytes(self, weights: int, rows: int, width: int) -> int:
        """As wide as all other weights."""
        return weights * width

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Every adapter can train these weights."""
        yield from ()
