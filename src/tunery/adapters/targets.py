"""Determine the weights that ``all-linear`` cannot reach: stacked experts, and layers by name.

In many mixture-of-experts models the experts are one stacked weight instead of layers. The linear
layers that ``all-linear`` excludes are found by ``models.linear``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from torch import nn

from tunery.models.linear import LINEAR

EXPERT = re.compile("expert", re.IGNORECASE)


def frozen_experts(model: nn.Module) -> dict[str, int]:
    """Stacked expert weights of a model, with or without adapters, that get no gradient.

    Returns:
        Number of parameters in each, by its name without adapters.
    """
    adapted = {
        (id(module.get_base_layer()), module.parameter_name)
        for module in model.modules()
        if isinstance(module, ParamWrapper)
    }
    return {
        f"{_plain(place)}.{name}": param.numel()
        for place, module, name, param in _expert_weights(model)
        if not param.requires_grad and (id(module), name) not in adapted
    }


def stacked_experts(model: nn.Module) -> list[str]:
    """Stacked expert weights as PEFT's ``target_parameters``: ``experts.down_proj`` and so on."""
    names = {f"{place}.{name}" for place, _, name, _ in _expert_weights(model)}
    return sorted({".".join(name.split(".")[-2:]) for name in names})


def kinds_of(names: Iterable[str]) -> str:
    """Count layers by the last part of their names: ``out_proj (24), router (2)``."""
    counts = Counter(name.rpartition(".")[2] for name in names)
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))


def _expert_weights(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    for place, module in model.named_modules():
        said = _plain(place).rpartition(".")[2] + type(module).__name__
        if isinstance(module, (*LINEAR, LoraLayer)) or not EXPERT.search(said):
            continue
        for name, param in module.named_parameters(recurse=False):
            # one matrix per expert, or the matrices of all experts concatenated (DBRX)
            if param.dim() == 3 or (param.dim() == 2 and "bias" not in name):
                yield place, module, name, param


def _plain(place: str) -> str:
    """A module's name without the prefixes that PEFT adds."""
    return place.removeprefix("base_model.model.").replace(".base_layer", "")
