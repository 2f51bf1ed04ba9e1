"""Which layers of a model can carry low-rank matrices, and what is left without them, in words."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import nn

from tunery.config.adapters.lora import LoraConfig
from tunery.i18n import t

IN_MAMBA = frozenset({"out_proj", "conv1d"})
"""Layers whose weights a state-space mixer reads itself, so that an adapter has no effect; PEFT
refuses them by these names."""
MAMBA = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
MOST_NAMES = 6


def linear_layers(model: nn.Module) -> tuple[list[str], list[str]]:
    """Divide a model's linear layers, its output head apart, into those that can and cannot.

    Returns:
        Full names: layers that compute y = xW + b and nothing else, and layers that a model's own
        class or its kernels use in another way (routers that also choose, grouped projections).
    """
    from transformers.pytorch_utils import Conv1D

    owner: Any = model
    head = owner.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    kind = getattr(getattr(model, "config", None), "model_type", "")
    able: list[str] = []
    unable: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | Conv1D) or module is head:
            continue
        plain = type(module).forward in (nn.Linear.forward, Conv1D.forward)
        mixed = kind in MAMBA and name.rpartition(".")[2] in IN_MAMBA
        (able if plain and not mixed else unable).append(name)
    return able, unable


def remarks(model: nn.Module, config: LoraConfig) -> list[str]:
    """What all-linear leaves without an adapter, in sentences.

    Args:
        model: The base, before it has an adapter; it may be on the meta device.
        config: What was asked for; named layers are what they are.
    """
    if config.target_modules != "all-linear":
        return []
    _, unable = linear_layers(model)
    said: list[str] = []
    if unable:
        names = Counter(name.rpartition(".")[2] for name in unable)
        said.append(
            t("Left without an adapter, because these layers cannot carry one: {names}.",
              names=_counted(names))
        )  # fmt: skip
    stacked = {} if config.target_parameters else experts(model)
    if stacked:
        total = sum(param.numel() for param in model.parameters())
        share = 100 * sum(count for _, count in stacked.values()) / total
        said.append(
            t("The experts have no adapter: {names} ({share:.0f} % of all parameters). "
              "Only the other layers are trained; to train them too, set "
              "--adapter.target_parameters {list}.",
              names=_counted({name: layers for name, (layers, _) in stacked.items()}),
              share=share, list=",".join(stacked))
        )  # fmt: skip
    return said


def experts(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Stacked expert weights by the end of their names: in how many layers, and how many numbers.

    They are parameters ``[experts, in, out]`` of one module and no linear layers.
    """
    found: dict[str, tuple[int, int]] = {}
    for name, param in model.named_parameters():
        parts = name.split(".")
        if param.dim() == 3 and len(parts) > 1 and "expert" in parts[-2]:
            end = ".".join(parts[-3:]) if len(parts) > 2 and not parts[-3].isdigit() else name
            end = ".".join(parts[-2:]) if end == name else end
            layers, count = found.get(end, (0, 0))
            found[end] = (layers + 1, count + param.numel())
    return found


def _counted(names: Counter[str] | dict[str, int]) -> str:
    listed = [f"{name} ×{count}" for name, count in list(names.items())[:MOST_NAMES]]
    return ", ".join(listed) + (" ..." if len(names) > MOST_NAMES else "")
