"""Determine the layers that ``all-linear`` selects, those it excludes, and those it cannot reach.

A low-rank term on a linear layer has an effect only if the layer's forward is called and returns
the matrix product. Excluded are layers with a custom forward (routers that return a tuple, grouped
projections), layers whose weight the model reads directly (fused state-space kernels take
``out_proj.weight``, so an adapter on that layer would be trained without any effect), and the
output projection, as in PEFT. In many mixture-of-experts models the experts are one stacked weight
instead of layers.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

LINEAR = (nn.Linear, Conv1D)
READ = re.compile(r"\bself\.(\w+)\.weight\b(?!\.(?:dtype|device|shape|size|is_|data))")
CALLED = re.compile(r"\bself\.(\w+)\(")
FUSED = re.compile("mamba_inner_fn|mamba2?_split_conv1d_scan_combined|selective_scan_fn")
EXPERT = re.compile("expert", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Full names of the linear layers that ``all-linear`` excludes.

    Args:
        own_forward: Layers that compute something other than a matrix product.
        weight_only: Layers whose weight the model reads without calling them.
        exclude: Both, for PEFT's ``exclude_modules``: only the last part of the name if that is
            unambiguous.
    """

    own_forward: tuple[str, ...]
    weight_only: tuple[str, ...]
    exclude: tuple[str, ...]


def left_out(model: nn.Module) -> LeftOut:
    """Find the layers, other than the output projection, that ``all-linear`` excludes."""
    modules = dict(model.named_modules())
    own_forward: list[str] = []
    weight_only: list[str] = []
    for name, module in modules.items():
        if isinstance(module, LINEAR) and name:
            parent, _, child = name.rpartition(".")
            if not _multiplies(type(module)):
                own_forward.append(name)
            elif child in _weights_read(type(modules[parent])):
                weight_only.append(name)
    every = {*own_forward, *weight_only}
    return LeftOut(tuple(own_forward), tuple(weight_only), _shortest(every, modules))


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


def _shortest(every: Collection[str], modules: Collection[str]) -> tuple[str, ...]:
    short: set[str] = set()
    for name in every:
        last = name.rpartition(".")[2]
        same = {n for n in modules if n == last or n.endswith(f".{last}")}
        short.add(last if same <= set(every) else name)
    return tuple(sorted(short))


@functools.cache
def _multiplies(kind: type[nn.Module]) -> bool:
    """Whether a class of linear layers computes x W' + b, as PEFT's low-rank term assumes."""
    if kind.forward in (nn.Linear.forward, Conv1D.forward):
        return True
    trial: Any = kind.__new__(kind)
    nn.Module.__init__(trial)
    generator = torch.Generator().manual_seed(0)
    trial.in_features, trial.out_features = 3, 5
    trial.weight = nn.Parameter(torch.randn(5, 3, generator=generator))
    trial.bias = nn.Parameter(torch.randn(5, generator=generator))
    x = torch.randn(2, 4, 3, generator=generator)
    try:
        found = trial(x)
    except Exception:  # noqa: BLE001 - any code of any architecture: then it is no plain product
        return False
    expected = nn.functional.linear(x, trial.weight, trial.bias)
    return (
        isinstance(found, Tensor)
        and found.shape == expected.shape
        and torch.allclose(found, expected, atol=1e-5)
    )


@functools.cache
def _weights_read(kind: type[nn.Module]) -> frozenset[str]:
    """Names of the layers whose weight a class reads instead of calling the layer.

    A layer that is also called is included if the class uses a fused state-space kernel, because
    the machine then decides which of the two code paths runs.
    """
    source = ""
    for part in kind.__mro__:
        if part is nn.Module:
            break
        try:
            source += inspect.getsource(part)
        except (OSError, TypeError):  # a class without a source file
            continue
    read = set(READ.findall(source))
    return frozenset(read if FUSED.search(source) else read - set(CALLED.findall(source)))
