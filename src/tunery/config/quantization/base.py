"""What every quantization kind declares before anything is loaded."""

from __future__ import annotations

import importlib.metadata
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from tunery.config.adapters import ADAPTERS
from tunery.config.base import Finding, Kind, tag
from tunery.i18n import t
from tunery.shape import ModelShape


class QuantizationKind(Kind):
    """One number format for the linear layers of a frozen base model.

    Attributes:
        quantizes: Whether the weights in memory differ from those in the model's files.
    """

    quantizes: ClassVar[bool] = True

    def weight_bytes(self, shape: ModelShape, width: int) -> int:
        """Bytes of the base model's weights in memory.

        Args:
            shape: The model.
            width: Bytes per number of the weights that are not quantized.
        """
        weights, rows = shape.linear
        return (shape.total_parameters - weights) * width + self.layer_bytes(weights, rows, width)

    @abstractmethod
    def layer_bytes(self, weights: int, rows: int, width: int) -> int:
        """Bytes of the quantized layers.

        Args:
            weights: Their number of weights.
            rows: The sum of their output sizes.
            width: Bytes per number of the compute dtype.
        """

    def facts(self) -> dict[str, Any]:
        """The settings and library versions that determine the quantized weights."""
        versions = {name: importlib.metadata.version(name) for name in self.packages}
        return {**self.model_dump(mode="json"), **versions}

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject an adapter that trains the quantized weights themselves."""
        if config.adapter.writes == "model":
            yield (
                "quantization.type",
                t(
                    "quantization.type={quantization} cannot be combined with "
                    "adapter.type={adapter}: quantized weights cannot be trained.",
                    quantization=tag(type(self)),
                    adapter=config.adapter.type,
                ),
                t(
                    "Set adapter.type to {adapter}, or remove quantization.type.",
                    adapter=tag(ADAPTERS[0]),
                ),
            )
        elif config.adapter.reads_weights:
            yield (
                "quantization.type",
                t(
                    "quantization.type={quantization} cannot be combined with adapter.init pissa "
                    "or olora, or with adapter.use_dora: they need the unquantized weights.",
                    quantization=tag(type(self)),
                ),
                t("Remove adapter.init and adapter.use_dora, or quantization.type."),
            )


class Quantized(QuantizationKind):
    """What all kinds that quantize have in common."""

    extra = "quantize"

    skip_modules: list[str] = Field(default_factory=list)
    """Linear layers to keep unquantized, by name, such as down_proj; lm_head always is."""
