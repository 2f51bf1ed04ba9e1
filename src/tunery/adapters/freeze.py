"""Freeze: train only the last decoder layers and the modules that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from tunery.adapters.full import merged, write_model
from tunery.config.adapters.freeze import FreezeConfig
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.models.linear import no_such_module


class Freeze:
    """The ``freeze`` adapter."""

    def __init__(self, config: FreezeConfig) -> None:
        self.config = config

    def attach(self, model: nn.Module, *, adapter: Path | None, base_name: str) -> nn.Module:
        """Make the last layers and the extra modules trainable and freeze everything else."""
        model = merged(model, adapter)
        layers = _layers(model)
        if self.config.num_layers > len(layers):
            raise ConfigError(
                t("adapter.num_layers is {found}; this model has {count} decoder layers.",
                  found=self.config.num_layers, count=len(layers)),
                fix=t("Set adapter.num_layers to at most {count}.", count=len(layers)),
            )  # fmt: skip
        for param in model.parameters():
            param.requires_grad_(False)
        chosen = [*layers[-self.config.num_layers :], *self._extra(model)]
        for module in chosen:
            for param in module.parameters():
                param.requires_grad_(True)
        return model

    def remarks(self, model: nn.Module) -> list[str]:
        """No remarks: everything the settings name is trained."""
        return []

    def off(self, model: nn.Module) -> None:
        """None: the weights are trained in place."""
        return None

    def write(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, into: Path) -> None:
        """Write ``model/``, the full model."""
        write_model(model, tokenizer, into / self.config.writes)

    def _extra(self, model: nn.Module) -> list[nn.Module]:
        modules = dict(model.named_modules())
        found: list[nn.Module] = []
        for name in self.config.extra_modules:
            matches = [m for n, m in modules.items() if n == name or n.endswith(f".{name}")]
            if not matches:
                known = {n for n in modules if n and ".layers." not in n} | {
                    n.rsplit(".", 1)[-1] for n in modules if n
                }
                raise no_such_module("adapter.extra_modules", name, known)
            found += matches
        return found


def _layers(model: Any) -> list[nn.Module]:
    decoder = model.get_decoder()
    return list(decoder.layers)
