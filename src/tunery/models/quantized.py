"""Quantized weights of a loaded model: recognized and counted, whichever library made them.

bitsandbytes and torchao keep quantized weights in classes of their own, in place of
``nn.Parameter``. Neither library is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Quantizer(Protocol):
    """The heavy half of a quantization kind, as loading and counting see it."""

    def load_options(self, skeleton: nn.Module, dtype: torch.dtype) -> dict[str, Any]:
        """Arguments for ``from_pretrained``; empty if nothing is quantized.

        Args:
            skeleton: The model without weights.
            dtype: Dtype of the weights that are not quantized.

        Raises:
            ConfigError: The settings do not fit the model.
        """
        ...

    def after_load(self, model: nn.Module) -> None:
        """Adjust the loaded model; called once."""
        ...

    def remarks(self, skeleton: nn.Module) -> list[str]:
        """Messages about weights that are not quantized."""
        ...

    def linear(self, skeleton: nn.Module) -> tuple[int, int]:
        """Numbers of weights and of output rows in the layers that will be quantized."""
        ...


def is_quantized(layer: nn.Module) -> bool:
    """Whether a layer's weight is quantized."""
    weight = getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and _is_quantized(weight)


def num_weights(param: Tensor) -> int:
    """Number of weights that a parameter stands for; two are packed in a byte with 4 bits."""
    state = getattr(param, "quant_state", None)
    return state.shape.numel() if state is not None else param.numel()


def num_parameters(model: nn.Module) -> int:
    """Number of a model's weights, quantized or not; shared ones once."""
    return sum(num_weights(param) for param in model.parameters())


def linear(model: nn.Module) -> tuple[int, int]:
    """Numbers of weights and of output rows in the quantized layers of a loaded model."""
    found = [_shape(param) for param in model.parameters() if _is_quantized(param)]
    return sum(shape.numel() for shape in found), sum(shape[0] for shape in found)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of a model's weights in memory, with the scales of quantized ones."""
    seen: dict[int, int] = {}
    for module in model.modules():
        for tensor in _tensors(module):
            seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
    return sum(seen.values())


def _is_quantized(weight: Tensor) -> bool:
    return type(weight) not in (nn.Parameter, Tensor)


def _shape(param: Tensor) -> torch.Size:
    state = getattr(param, "quant_state", None)
    return state.shape if state is not None else param.shape


def _tensors(module: Any) -> Iterator[Tensor]:
    for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        inner = getattr(tensor, "__tensor_flatten__", None)
        if inner is None:
            yield tensor
        else:
            yield from (getattr(tensor, name) for name in inner()[0])
        yield from _scales(getattr(tensor, "quant_state", None))
    scales = getattr(getattr(module, "state", None), "SCB", None)
    if scales is None:
        scales = getattr(getattr(module, "weight", None), "SCB", None)
    if isinstance(scales, Tensor):
        yield scales


def _scales(state: Any) -> Iterator[Tensor]:
    if state is not None:
        yield from (each for each in (state.absmax, state.code, state.offset) if each is not None)
        yield from _scales(getattr(state, "state2", None))
