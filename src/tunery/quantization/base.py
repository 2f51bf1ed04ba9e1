"""Which layers of a model are quantized: the plain linear layers, except the output projection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import nn

from tunery.config.quantization.base import Quantized
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.models.heads import output_layer
from tunery.models.linear import left_out, no_such_module

MOST = 0.5
"""Below this share of quantized weights, the run says what is left."""


class LinearQuantizer:
    """Quantizes linear layers while they are loaded; subclasses name the library's settings.

    Attributes:
        converts: The classes of layers that the library converts; subclasses of them are kept.
    """

    converts: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear,)

    def __init__(self, config: Quantized) -> None:
        self.config = config

    def load_options(self, skeleton: nn.Module, dtype: torch.dtype) -> dict[str, Any]:
        """Return what ``from_pretrained`` needs to quantize each weight as it is read.

        Args:
            skeleton: The model without weights.
            dtype: Dtype of the other weights.

        Raises:
            ConfigError: A module to skip does not exist, or no layer is left to quantize.
        """
        if not dict(self._converted(skeleton)):
            raise ConfigError(
                t(
                    "quantization.type={kind}: this model has no linear layers that can be "
                    "quantized.",
                    kind=self.config.type,  # type: ignore[attr-defined]
                ),
                fix=t("Remove quantization.type."),
                setting="quantization.type",
            )
        return {"quantization_config": self.settings(self._kept(skeleton), dtype)}

    def settings(self, kept: list[str], dtype: torch.dtype) -> Any:
        """Return the library's settings for transformers.

        Args:
            kept: Full names of the linear layers to keep as they are.
            dtype: Dtype of the other weights.
        """
        raise NotImplementedError

    def after_load(self, model: nn.Module) -> None:
        """Adjust the loaded layers; nothing by default."""

    def remarks(self, skeleton: nn.Module) -> list[str]:
        """Say how much of the model is not quantized, if that is most of it."""
        every = sum(param.numel() for param in skeleton.parameters())
        share = self.linear(skeleton)[0] / max(1, every)
        if share >= MOST:
            return []
        return [
            t(
                "Only {share} of the model's weights are quantized: the others are not in linear "
                "layers or are kept.",
                share=f"{share:.0%}",
            )
        ]

    def linear(self, skeleton: nn.Module) -> tuple[int, int]:
        """Numbers of weights and of output rows in the layers to quantize."""
        layers = list(dict(self._converted(skeleton)).values())
        weights = sum(layer.weight.numel() for layer in layers)
        return weights, sum(layer.weight.numel() // _inputs(layer) for layer in layers)

    def _converted(self, skeleton: nn.Module) -> Iterator[tuple[str, Any]]:
        kept = set(self._kept(skeleton))
        for name, module in skeleton.named_modules():
            if type(module) in self.converts and name not in kept:
                yield name, module

    def _kept(self, skeleton: Any) -> list[str]:
        """Layers that are no plain product, the output projection, and those that users name."""
        linear = [n for n, m in skeleton.named_modules() if isinstance(m, self.converts)]
        left = left_out(skeleton)
        head = output_layer(skeleton)
        kept = {*left.own_forward, *left.weight_only}
        kept |= {name for name, module in skeleton.named_modules() if module is head}
        for name in self.config.skip_modules:
            found = {n for n in linear if n == name or n.endswith(f".{name}") or f".{name}." in n}
            if not found:
                known = {n.rsplit(".", 1)[-1] for n in linear}
                raise no_such_module("quantization.skip_modules", name, known)
            kept |= found
        return sorted(kept)


def _inputs(layer: Any) -> int:
    return layer.in_features if hasattr(layer, "in_features") else int(layer.weight.shape[0])
