"""LoRA that starts from a part of the weights, which is subtracted: PiSSA, OLoRA.

The published form moves that part out of the base: W becomes W - s B0 A0, and training goes on with
s B A beside it. Here the base stays as it is and the first values are subtracted where the matrices
are applied: W x + s (B A - B0 A0) x. In exact arithmetic both are the same model with the same
gradients, but this one leaves the base untouched (without the adapter it is the model before
training, to the bit, also in bfloat16) and equals the plain LoRA of twice the rank that is saved.

The change is never computed as the difference of two large products, but from the differences of
the matrices: B A - B0 A0 = (B - B0) A + B0 (A - A0), a product of rank 2 R that is exactly 0 at the
start and keeps its precision where the matrices are rounded.

Shapes: I inputs, O outputs, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor
from torch.nn import functional as F


def subtract_start(layer: Any, adapter: str) -> None:
    """Subtract the present values of an adapter's matrices from a layer's result, from now on.

    Args:
        layer: PEFT's LoRA layer on a linear layer; keeps the values as ``start_A`` ``[R, I]`` and
            ``start_B`` ``[O, R]``, which are neither trained nor part of its state.
        adapter: The adapter's name.
    """
    layer.register_buffer("start_A", layer.lora_A[adapter].weight.detach().clone(), False)
    layer.register_buffer("start_B", layer.lora_B[adapter].weight.detach().clone(), False)
    layer.lora_variant[adapter] = Subtracted()


def start_of(layer: Any, adapter: str) -> tuple[Tensor, Tensor] | None:
    """The subtracted matrices (``[R, I]``, ``[O, R]``) of a layer; None if there are none."""
    if not isinstance(layer, LoraLayer):
        return None
    subtracted = isinstance(layer.lora_variant.get(adapter), Subtracted)
    return (layer.start_A, layer.start_B) if subtracted else None  # type: ignore[return-value]


def change(a_RI: Tensor, b_OR: Tensor, start: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """B A - B0 A0 as one product of rank 2 R: the matrices ``[2 R, I]`` and ``[O, 2 R]``."""
    first_a, first_b = start
    return torch.cat([a_RI, a_RI - first_a]), torch.cat([b_OR - first_b, first_b], dim=1)


class Subtracted(LoraVariant):
    """PEFT's general path for such a layer; the fast one is in ``kernels.lora``."""

    def supports_lora_conversion(self) -> bool:
        """It is written as plain LoRA already."""
        return False

    @staticmethod
    def forward(
        module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """The base's result plus s (B A drop(x) - B0 A0 x); dropout is for what is trained."""
        a, b = module.lora_A[active_adapter].weight, module.lora_B[active_adapter].weight
        down = F.linear(module.lora_dropout[active_adapter](x), a)
        moved = down - F.linear(x, module.start_A)
        update = F.linear(down, b - module.start_B) + F.linear(moved, module.start_B)
        return result + update * module.scaling[active_adapter]

    @staticmethod
    def merge_safe(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """The weight with the change added in fp32, as a new tensor."""
        return (orig_weight + _change(module, active_adapter)).to(orig_weight.dtype)

    @staticmethod
    def merge_unsafe(module: Any, active_adapter: str, orig_weight: Tensor) -> None:
        """Add the change to the weight in place."""
        orig_weight.data += _change(module, active_adapter)

    @staticmethod
    def unmerge(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """The weight without the change."""
        return (orig_weight - _change(module, active_adapter)).to(orig_weight.dtype)


@torch.no_grad()
def _change(module: Any, adapter: str) -> Tensor:
    start = module.start_A, module.start_B
    a, b = change(module.lora_A[adapter].weight, module.lora_B[adapter].weight, start)
    found = b @ a * module.scaling[adapter]
    return found.t() if module.fan_in_fan_out else found
