"""Linear layers for decoding on a CPU: weights copied once into oneDNN's blocked layout.

A decoding step multiplies every weight by a few rows, so memory bandwidth limits it, and torch's
regular product reads a row-major weight at a third to a half of that bandwidth. In the blocked
layout the same product took half the time (docs/log, generate_speed). The original weights remain
beside the copies: they are memory-mapped from the model's file, so the OS may drop their pages.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

import torch
from torch import Tensor, nn

from tunery import memory

ROWS_HINT = 64
SPARE_BYTES = 1 << 30


def supported(dtype: torch.dtype) -> bool:
    """Whether this build and processor support the blocked product for ``dtype``."""
    return _probe(dtype)


@functools.cache
def _probe(dtype: torch.dtype) -> bool:
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # These are the operators that torch.compile itself freezes weights with. They are not public,
    # so a build that lacks them, or whose arguments differ, counts as unsupported.
    weight = torch.arange(96, dtype=dtype).reshape(8, 12) / 96
    x = torch.ones(1, 2, 12, dtype=dtype)
    try:
        found = packed_linear(pack(weight), None, x)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.allclose(found, nn.functional.linear(x, weight), rtol=2e-2, atol=1e-3)


def pack(weight_OI: Tensor) -> Tensor:
    """Copy a weight into the blocked layout; the copy is opaque, only for ``packed_linear``."""
    return torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach(), ROWS_HINT)


def packed_linear(packed: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """``x @ weight.T + bias`` with a weight from ``pack``."""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


@contextmanager
def prepacked(model: nn.Module) -> Iterator[bool]:
    """Decode faster inside this context; the weights must not change while it is active.

    Yields:
        Whether it is active: False on other devices, without oneDNN, or if memory is short.
    """
    layers = prepack(model)
    try:
        yield bool(layers)
    finally:
        for layer in layers:
            del layer.forward


def prepack(model: nn.Module) -> list[nn.Linear]:
    """Give every plain linear layer of a frozen model a forward pass with blocked weights.

    Returns:
        The layers changed; ``del layer.forward`` restores one. Empty if the copies of all layers
        do not fit into free memory: all or nothing.
    """
    layers = [module for module in model.modules() if _can_be_packed(module)]
    if not layers or not fits(sum(layer.weight.nbytes for layer in layers)):
        return []
    packs: dict[int, Tensor] = {}
    for layer in layers:
        key = layer.weight.data_ptr()
        if key not in packs:
            packs[key] = pack(layer.weight)
        bias = None if layer.bias is None else layer.bias.detach()
        vars(layer)["forward"] = functools.partial(packed_linear, packs[key], bias)
    return layers


def fits(num_bytes: int, device: str = "cpu") -> bool:
    """Whether copies of this many bytes leave enough memory for everything else."""
    cuda = device.startswith("cuda")
    free = torch.cuda.mem_get_info(device)[0] if cuda else memory.available_bytes()
    return num_bytes * 1.25 + SPARE_BYTES <= free


def _can_be_packed(module: nn.Module) -> TypeGuard[nn.Linear]:
    # Only the class itself: a subclass may use its weight differently.
    return (
        type(module) is nn.Linear
        and "forward" not in vars(module)
        and module.weight.device.type == "cpu"
        and min(module.weight.shape) >= 64  # no gain for LoRA's thin matrices
        and supported(module.weight.dtype)
    )
