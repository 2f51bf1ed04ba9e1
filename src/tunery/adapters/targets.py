"""Layers that ``all-linear`` selects, those it excludes, and those it cannot reach.

A low-rank term beside a linear layer counts only where the layer's own forward is called and gives
its product. Left out are layers with a forward of their own (routers that return a tuple, grouped
projections), layers whose weight the model reads past the layer (fused state-space kernels take
``out_proj.weight``, and an adapter beside it would be trained without any effect), and the output
projection, as in PEFT. The experts of many mixture models are one stacked weight and no layers.
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
    """Linear layers that ``all-linear`` does not mean; full names.

    Args:
        own_forward: They compute something else than a product.
        weight_only: The model reads their weight without calling them.
        exclude: Both as PEFT's ``exclude_modules``: the last part alone where it says all.
    """

    own_forward: tuple[str, ...]
    weight_only: tuple[str, ...]
    exclude: tuple[str, ...]


def left_out(model: nn.Module) -> LeftOut:
    """Layers other than the output projection that ``all-linear`` excludes."""
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
        Numbers in each, by the name it has without adapters.
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
    """Layers by the last part of their names with their number: ``out_proj (24), router (2)``."""
    counts = Counter(name.rpartition(".")[2] for name in names)
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))


def _expert_weights(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    for place, module in model.named_modules():
        said = _plain(place).rpartition(".")[2] + type(module).__name__
        if isinstance(module, (*LINEAR, LoraLayer)) or not EXPERT.search(said):
            continue
        for name, param in module.named_parameters(recurse=False):
            # one matrix an expert, or the matrices of all below each other (DBRX)
            if param.dim() == 3 or (param.dim() == 2 and "bias" not in name):
                yield place, module, name, param


def _plain(place: str) -> str:
    """A module's name without what PEFT puts around it."""
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
    """Whether a class of linear layers gives x W' + b, as PEFT's term beside it supposes."""
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
    """Names of a class's layers whose weight its code takes in place of calling the layer.

    A layer that is called as well counts where the reader is a fused state-space kernel: which of
    the two is done then depends on the machine.
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
