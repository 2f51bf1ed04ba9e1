"""LoRA: low-rank matrices beside frozen linear layers (Hu et al. 2021), through peft."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from peft import LoraConfig as PeftLora
from peft import PeftModel, get_peft_model, get_peft_model_state_dict
from torch import nn
from transformers import PreTrainedTokenizerBase

from tunery.adapters.base import no_such_module
from tunery.adapters.linear import experts, linear_layers, remarks
from tunery.config.adapters.lora import LoraConfig
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.models.attach import load_adapter
from tunery.storage import write_tensors

NAME = "default"


class Lora:
    """The ``lora`` adapter: fp32 matrices beside frozen layers in the compute dtype."""

    def __init__(self, config: LoraConfig) -> None:
        self.config = config
        self._new = True

    def attach(self, model: nn.Module, *, adapter: Path | None, base_name: str) -> nn.Module:
        """Add new matrices, or go on with those of an adapter folder of the same shape."""
        for param in model.parameters():
            param.requires_grad_(False)
        self._new = adapter is None
        if adapter is not None:
            lora: Any = load_adapter(model, adapter, NAME, trainable=True)  # type: ignore[arg-type]
            self._same_shape(lora.peft_config[NAME], adapter)
        else:
            settings = PeftLora(
                r=self.config.rank,
                lora_alpha=self.config.alpha,  # type: ignore[arg-type] # peft takes any number
                lora_dropout=self.config.dropout,
                target_modules=self._targets(model),
                target_parameters=self._parameters(model),
                task_type="CAUSAL_LM",
            )
            with warnings.catch_warnings():
                # PEFT's own table for experts names layers that all-linear does not take.
                warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern")
                lora = get_peft_model(model, settings, adapter_name=NAME)  # type: ignore[arg-type]
        lora.peft_config[NAME].base_model_name_or_path = base_name
        for param in lora.parameters():
            if param.requires_grad:
                param.data = param.data.float()
        return lora

    def remarks(self, model: nn.Module) -> list[str]:
        """What all-linear leaves without an adapter."""
        return remarks(model, self.config)

    def off(self, model: nn.Module) -> Callable[[], AbstractContextManager[None]] | None:
        """Without its matrices, the model is the base; that is where a new adapter began."""
        assert isinstance(model, PeftModel)
        return model.disable_adapter if self._new else None

    def write(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, into: Path) -> None:
        """Write ``adapter/`` as PEFT does: adapter_config.json, adapter_model.safetensors."""
        assert isinstance(model, PeftModel)
        folder = into / self.config.writes
        folder.mkdir()
        tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
        write_tensors(folder / "adapter_model.safetensors", tensors)
        settings = copy.copy(model.peft_config[NAME])
        settings.inference_mode = True
        settings.save_pretrained(str(folder))

    def _targets(self, model: nn.Module) -> str | list[str]:
        wanted = self.config.target_modules
        able, unable = linear_layers(model)
        if wanted == "all-linear":
            return able if unable else wanted
        names = wanted.split(",") if isinstance(wanted, str) else wanted
        for name in names:
            if _ending(unable, name) and not _ending(able, name):
                raise ConfigError(
                    t("adapter.target_modules: {name!r} cannot carry an adapter.", name=name),
                    fix=t("Leave it out. Layers that can: {names}.", names=_last(able)),
                )
            if not _ending(able, name):
                known = {n.rsplit(".", 1)[-1] for n in able}
                raise no_such_module("adapter.target_modules", name, known)
        return [*names]

    def _parameters(self, model: nn.Module) -> list[str] | None:
        wanted = self.config.target_parameters
        stacked = experts(model)
        for name in wanted:
            if not _ending([*stacked], name):
                raise no_such_module("adapter.target_parameters", name, stacked)
        return wanted or None

    def _same_shape(self, found: Any, adapter: Path) -> None:
        own = {"rank": self.config.rank, "alpha": self.config.alpha}
        for name, theirs in (("rank", found.r), ("alpha", found.lora_alpha)):
            if own[name] != theirs:
                raise ConfigError(
                    f"adapter.{name} is {own[name]:g}, but {adapter}, from which this run goes on, "
                    f"has {theirs:g}.",
                    fix=f"Set adapter.{name} to {theirs:g}, or name the base model to start anew.",
                )


def _ending(names: list[str], wanted: str) -> list[str]:
    return [name for name in names if name == wanted or name.endswith(f".{wanted}")]


def _last(names: list[str]) -> str:
    return ", ".join(sorted({name.rpartition(".")[2] for name in names}))
