"""First values of LoRA's matrices that are taken from the weights: PiSSA and OLoRA.

PiSSA (Meng et al. 2024) takes the largest singular values and their vectors, OLoRA (Buyukakyuz
2024) the first columns of a QR decomposition. What was taken is subtracted where the matrices are
applied (``kernels.lora_start``), and what is saved is plain LoRA for the original weights.

Shapes: I inputs, O outputs, R rank.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import Linear, LoraLayer
from torch import Tensor, nn

from tunery.config.adapters.lora import LoraConfig
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.kernels.lora_start import change, start_of, subtract_start

OVERSAMPLED = 8
"""Further columns in the approximate decomposition, as Halko et al. (2011) recommend 5 to 10."""


@torch.no_grad()
def start_from_weights(model: nn.Module, adapter: str, config: LoraConfig) -> None:
    """Set an adapter's matrices to a part of each layer's weight, and subtract it.

    Args:
        model: With a new adapter on linear layers. On the meta device, only the shapes are checked.
        adapter: The adapter's name.
        config: ``init`` and ``pissa_niter``. The approximate form draws from torch's CPU generator.

    Raises:
        ConfigError: A rank is larger than a side of a weight.
    """
    for name, layer in model.named_modules():
        if not isinstance(layer, LoraLayer) or adapter not in layer.lora_A:
            continue
        if not isinstance(layer, Linear):
            raise _not_linear(config, name)
        rank, base = layer.r[adapter], layer.get_base_layer()
        most = min(int(layer.in_features), int(layer.out_features))  # pyright: ignore
        if rank > most:
            raise _too_high(config, rank, name, most)
        weight: Any = base.weight
        if weight.is_meta:
            continue
        weight_OI = (weight.t() if layer.fan_in_fan_out else weight).float()
        if config.init == "olora":
            a_RI, b_OR = _first_columns(weight_OI, rank)
        else:
            a_RI, b_OR = _principal(weight_OI, rank, layer.scaling[adapter], config.pissa_niter)
        pairs = ((layer.lora_A[adapter], a_RI), (layer.lora_B[adapter], b_OR))
        for matrix, values in pairs:
            kept: Any = matrix.weight
            kept.data = values.to(kept.dtype).contiguous()
        subtract_start(layer, adapter)


@torch.no_grad()
def measure_lengths(model: nn.Module, adapter: str) -> None:
    """Set DoRA's lengths to those of the rows, in fp32, so that it begins as the base model.

    PEFT rounds them to the dtype of the weights, which changes a model in bfloat16 by up to one
    part in 256 before the first step.

    Args:
        model: With a new DoRA adapter, whose matrices are fp32.
        adapter: The adapter's name.
    """
    for layer in model.modules():
        if not isinstance(layer, Linear) or adapter not in layer.lora_magnitude_vector:
            continue
        weight: Any = layer.get_base_layer().weight
        a: Any = layer.lora_A[adapter].weight
        b: Any = layer.lora_B[adapter].weight
        whole_OI = (weight.t() if layer.fan_in_fan_out else weight).float()
        whole_OI = whole_OI + layer.scaling[adapter] * (b @ a)
        kept: Any = layer.lora_magnitude_vector[adapter].weight
        kept.data = torch.linalg.norm(whole_OI, dim=1)


def as_plain_lora(
    model: PeftModel, adapter: str, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Any]:
    """An adapter's tensors and settings as plain LoRA, twice the rank where a start is subtracted.

    Args:
        model: The trained model.
        adapter: The adapter's name.
        tensors: Its tensors by their names in a file; not changed.

    Returns:
        Tensors and PEFT settings that give the same model on the original weights.
    """
    settings: Any = copy.copy(model.peft_config[adapter])
    found = dict(tensors)
    for name, layer in model.named_modules():
        start = start_of(layer, adapter)
        if start is not None:
            a, b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
            found[a], found[b] = change(tensors[a], tensors[b], start)
    if not any(start_of(layer, adapter) for layer in model.modules()):
        return found, settings
    # PEFT divides alpha by the rank, or by its square root: the scale must stay.
    factor = math.sqrt(2.0) if settings.use_rslora else 2.0
    settings.r, settings.lora_alpha = 2 * settings.r, factor * settings.lora_alpha
    settings.rank_pattern = {name: 2 * rank for name, rank in settings.rank_pattern.items()}
    settings.alpha_pattern = {
        name: factor * alpha for name, alpha in settings.alpha_pattern.items()
    }
    return found, settings


def _principal(
    weight_OI: Tensor, rank: int, scale: float, iterations: int | None
) -> tuple[Tensor, Tensor]:
    """The part with the largest singular values, divided evenly between A and B."""
    if iterations is None:
        u, values, vh = torch.linalg.svd(weight_OI, full_matrices=False)
    else:
        u, values, vh = _approximate(weight_OI, rank, iterations)
    root = (values[:rank] / scale).sqrt()
    return root[:, None] * vh[:rank], u[:, :rank] * root


def _approximate(weight_OI: Tensor, rank: int, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """A randomized decomposition by subspace iteration (Halko et al. 2011, algorithm 4.4).

    The first vectors come from the CPU's generator, so that a run can go on on another device.
    """
    columns = min(rank + OVERSAMPLED, *weight_OI.shape)
    first = torch.randn(weight_OI.shape[1], columns).to(weight_OI.device)
    basis = torch.linalg.qr(weight_OI @ first).Q
    for _ in range(iterations):
        other = torch.linalg.qr(weight_OI.t() @ basis).Q
        basis = torch.linalg.qr(weight_OI @ other).Q
    u, values, vh = torch.linalg.svd(basis.t() @ weight_OI, full_matrices=False)
    return basis @ u, values, vh


def _first_columns(weight_OI: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    q, r = torch.linalg.qr(weight_OI)
    return r[:rank], q[:, :rank]


def _too_high(config: LoraConfig, rank: int, name: str, most: int) -> ConfigError:
    layer = name.removeprefix("base_model.model.")
    return ConfigError(
        t(
            "adapter.init={init} needs a rank of at most {most} for {layer}, got {rank}.",
            init=config.init, most=most, layer=layer, rank=rank,
        ),
        fix=t("Lower adapter.rank, or set adapter.init to default."),
        setting="adapter.rank",
    )  # fmt: skip


def _not_linear(config: LoraConfig, name: str) -> ConfigError:
    return ConfigError(
        t(
            "adapter.init={init} is defined for linear layers, and {layer} is none.",
            init=config.init,
            layer=name.removeprefix("base_model.model."),
        ),
        fix=t("Set adapter.init to default."),
        setting="adapter.init",
    )
