"""Linear layers of a model: which are plain matrix products that a run may replace or adapt.

A low-rank term on a linear layer, or a quantized copy of it, has an effect only if the layer's
forward is called and returns the matrix product. Left out are layers with a custom forward (routers
that return a tuple, grouped projections), and layers whose weight the model reads directly (fused
state-space kernels take ``out_proj.weight``).
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tunery.errors import ConfigError
from tunery.i18n import joined, t
from tunery.models.quantized import is_quantized

LINEAR = (nn.Linear, Conv1D)
READ = re.compile(r"\bself\.(\w+)\.weight\b(?!\.(?:dtype|device|shape|size|is_|data))")
CALLED = re.compile(r"\bself\.(\w+)\(")
FUSED = re.compile("mamba_inner_fn|mamba2?_split_conv1d_scan_combined|selective_scan_fn")


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
        if isinstance(module, LINEAR) and name and not is_quantized(module):
            parent, _, child = name.rpartition(".")
            if not _multiplies(type(module)):
                own_forward.append(name)
            elif child in _weights_read(type(modules[parent])):
                weight_only.append(name)
    every = {*own_forward, *weight_only}
    return LeftOut(tuple(own_forward), tuple(weight_only), _shortest(every, modules))


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


def no_such_module(setting: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a module name that matches nothing, with close matches."""
    names = sorted({each for each in known if not each.isdigit()})  # a layer's number is no name
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
    has = t("Available: {names}.", names=shown) if names else ""
    meant = t("Did you mean {name}?", name=" / ".join(near)) if near else ""
    if name.replace("_", "-") in ("all", "linear", "all-linear"):
        meant = t("To use every linear layer: --adapter.target_modules all-linear.")
    return ConfigError(
        t("{setting}: this model has no module {name!r}.", setting=setting, name=name),
        fix=joined(meant, has),
    )
