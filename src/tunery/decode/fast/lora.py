"""Plain LoRA for the fast forward pass: different adapters in one batch, base weights shared.

The update is computed in the adapter's own precision, added, and rounded once, as in PEFT. With
torch, the thin matrices are blocked copies too, because their product then does not depend on the
number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tunery.decode.prepack import pack, packed_linear, supported
from tunery.decode.switch import is_plain

GROUPS = {
    "qkv": ("self_attn", ("q_proj", "k_proj", "v_proj")),
    "out": ("self_attn", ("o_proj",)),
    "gate_up": ("mlp", ("gate_proj", "up_proj")),
    "down": ("mlp", ("down_proj",)),
}


@dataclass(slots=True)
class Pair:
    """A and B of a group's layers: the A matrices stacked, the B matrices block-diagonal.

    Args:
        a: [R, W], with R the sum of the ranks.
        b: [O, R], already scaled.
    """

    a: Tensor
    b: Tensor
    _packs: tuple[Tensor, Tensor] | None = None

    def update(self, x: Tensor) -> Tensor:
        """``x @ a.T @ b.T`` in the adapter's precision, with torch."""
        x = x.to(self.a.dtype)
        if self.a.device.type != "cpu" or not supported(self.a.dtype):
            return F.linear(F.linear(x, self.a), self.b)
        if self._packs is None:
            self._packs = pack(self.a), pack(self.b)
        a, b = self._packs
        return packed_linear(b, None, packed_linear(a, None, x))


class LoraLayers:
    """One adapter's matrices, by layer and group.

    Args:
        model: The base model with PEFT's layers in place.
        name: The adapter's name in those layers.
    """

    def __init__(self, model: Any, name: str) -> None:
        self.pairs = [
            {group: _pair(layer, group, name) for group in GROUPS} for layer in model.model.layers
        ]

    def add(self, number: int, group: str, x: Tensor, y: Tensor, rows: Tensor | None) -> None:
        """Add the update of some rows (None: all) to the base's result, in place."""
        pair = self.pairs[number][group]
        if pair is None:
            return
        if rows is None:
            y.copy_(y.to(pair.a.dtype) + pair.update(x))
        else:
            # A single row is summed in a different order than several, so it is duplicated.
            rows = rows if len(rows) > 1 else rows.repeat(2)
            y[rows] = (y[rows].to(pair.a.dtype) + pair.update(x[rows])).to(y.dtype)


@dataclass(slots=True)
class ActiveLora:
    """An adapter in a step, and the rows that use it; None for all rows."""

    layers: LoraLayers
    rows: Tensor | None

    def add(self, number: int, group: str, x: Tensor, y: Tensor) -> None:
        """Add its update for a layer's group to the base's result, in place."""
        self.layers.add(number, group, x, y, self.rows)


def is_plain_lora(wrapped: Any, name: str) -> bool:
    """Whether an adapter of a PEFT model is plain LoRA on layers that the fast pass supports."""
    if wrapped.peft_config[name].peft_type != "LORA":
        return False
    model: Any = wrapped.get_base_model()
    known = {
        id(getattr(getattr(layer, place), linear))
        for layer in model.model.layers
        for place, linears in GROUPS.values()
        for linear in linears
    }
    for module in model.modules():
        if _carries(module, name):
            plain = is_plain(module, name)
            if not plain or id(module) not in known:
                return False
    return True


def _carries(module: Any, name: str) -> bool:
    names = getattr(module, "adapter_layer_names", None)
    if names is None:
        return False
    own: list[Any] = [getattr(module, each, None) for each in names]
    return any(each is not None and name in each for each in own)


def _pair(layer: Any, group: str, name: str) -> Pair | None:
    place, linears = GROUPS[group]
    modules = [getattr(getattr(layer, place), linear) for linear in linears]
    present = [name in getattr(m, "lora_A", ()) for m in modules]
    if not any(present):
        return None
    found: list[tuple[Tensor, Tensor] | None] = []
    for module, mine in zip(modules, present, strict=True):
        if mine:
            b = module.lora_B[name].weight.detach() * module.scaling[name]
            found.append((module.lora_A[name].weight.detach(), b))
        else:
            found.append(None)
    first = next(pair for pair in found if pair is not None)
    dtype, device = first[0].dtype, first[0].device
    a = torch.cat([pair[0] for pair in found if pair is not None])
    heights = [m.out_features for m in modules]
    b = torch.zeros(sum(heights), len(a), dtype=dtype, device=device)
    top = left = 0
    for height, pair in zip(heights, found, strict=True):
        if pair is not None:
            rank = len(pair[0])
            b[top : top + height, left : left + rank] = pair[1]
            left += rank
        top += height
    return Pair(a, b)
