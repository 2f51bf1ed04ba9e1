"""LoRA: low-rank matrices added to frozen linear layers (Hu et al. 2021), implemented by PEFT."""

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

from tunery.adapters.targets import frozen_experts, kinds_of, stacked_experts
from tunery.config.adapters.lora import LoraConfig
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.models.attach import load_adapter
from tunery.models.linear import LINEAR, LeftOut, left_out, no_such_module
from tunery.storage import write_tensors

NAME = "default"
NOTHING_LEFT_OUT = LeftOut((), (), ())


class Lora:
    """The ``lora`` adapter: fp32 matrices on frozen layers in the compute dtype."""

    def __init__(self, config: LoraConfig) -> None:
        self.config = config
        self._new = True
        self._left_out = NOTHING_LEFT_OUT

    def attach(self, model: nn.Module, *, adapter: Path | None, base_name: str) -> nn.Module:
        """Add new matrices, or load those of an existing adapter of the same shape."""
        for param in model.parameters():
            param.requires_grad_(False)
        self._new = adapter is None
        if adapter is not None:
            lora: Any = load_adapter(model, adapter, NAME, trainable=True)  # type: ignore[arg-type]
            self.config.continued(adapter, ("rank", "alpha"))
        else:
            self._left_out = self._all_linear_leaves_out(model)
            settings = PeftLora(
                r=self.config.rank,
                lora_alpha=self.config.alpha,  # type: ignore[arg-type] # peft takes any number
                lora_dropout=self.config.dropout,
                target_modules=self._targets(model),
                target_parameters=self._parameters(model) or None,
                exclude_modules=list(self._left_out.exclude) or None,
                task_type="CAUSAL_LM",
            )
            with warnings.catch_warnings():
                # PEFT's table of expert layers names layers that all-linear does not select.
                warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern")
                try:
                    lora = get_peft_model(model, settings, adapter_name=NAME)  # type: ignore[arg-type]
                except ValueError as error:
                    if "lora_dropout" not in str(error):
                        raise
                    raise _no_dropout(self.config.dropout) from error
        lora.peft_config[NAME].base_model_name_or_path = base_name
        for name, param in lora.named_parameters():
            # Fully trained modules keep the model's dtype; the optimizer keeps fp32 masters.
            if param.requires_grad and ".modules_to_save." not in name:
                param.data = param.data.float()
        return lora

    def off(self, model: nn.Module) -> Callable[[], AbstractContextManager[None]] | None:
        """Disable the adapter, which restores the base model; None for a continued adapter."""
        assert isinstance(model, PeftModel)
        return model.disable_adapter if self._new else None

    def write(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, into: Path) -> None:
        """Write ``adapter/`` in PEFT's format: adapter_config.json, adapter_model.safetensors."""
        assert isinstance(model, PeftModel)
        folder = into / self.config.writes
        folder.mkdir()
        tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
        write_tensors(folder / "adapter_model.safetensors", tensors)
        settings = copy.copy(model.peft_config[NAME])
        settings.inference_mode = True
        settings.save_pretrained(str(folder))

    def remarks(self, model: nn.Module) -> list[str]:
        """Messages about weights that are not trained although the settings may suggest it."""
        told: list[str] = []
        if self._left_out.own_forward:
            told.append(
                t("all-linear skips {layers}: they compute more than a matrix product.",
                  layers=kinds_of(self._left_out.own_forward))
            )  # fmt: skip
        if self._left_out.weight_only:
            told.append(
                t(
                    "all-linear skips {layers}: the model reads their weights directly, so "
                    "an adapter there would have no effect.",
                    layers=kinds_of(self._left_out.weight_only),
                )
            )
        frozen = frozen_experts(model)
        if frozen:
            whole = sum(p.numel() for p in model.parameters())
            told.append(
                t(
                    "The experts are not trained: {count} stacked weights with {numbers:,} "
                    "of the model's {all:,} parameters stay unchanged. To train them too: "
                    "--adapter.target_parameters all-experts",
                    count=len(frozen),
                    numbers=sum(frozen.values()),
                    all=whole,
                )
            )
        return told

    def _all_linear_leaves_out(self, model: nn.Module) -> LeftOut:
        everything = self.config.target_modules == "all-linear"
        return left_out(model) if everything else NOTHING_LEFT_OUT

    def _parameters(self, model: nn.Module) -> list[str]:
        wanted = self.config.target_parameters
        if wanted == "all-experts":
            found = stacked_experts(model)
            if not found:
                raise ConfigError(
                    t("adapter.target_parameters is all-experts; this model has no stacked "
                      "experts."),
                    fix=t("Remove adapter.target_parameters."),
                )  # fmt: skip
            return found
        names = wanted.split(",") if isinstance(wanted, str) else list(wanted)
        known = [name for name, _ in model.named_parameters()]
        for name in names:
            if not any(own == name or own.endswith(f".{name}") for own in known):
                raise no_such_module("adapter.target_parameters", name, stacked_experts(model))
        return names

    def _targets(self, model: nn.Module) -> str | list[str]:
        wanted = self.config.target_modules
        if wanted == "all-linear":
            return wanted
        names = wanted.split(",") if isinstance(wanted, str) else wanted
        linear = [n for n, module in model.named_modules() if isinstance(module, LINEAR)]
        unable = {*(left := left_out(model)).own_forward, *left.weight_only}
        for name in names:
            meant = [known for known in linear if known == name or known.endswith(f".{name}")]
            if not meant:
                known = {n.rsplit(".", 1)[-1] for n in linear if n not in unable}
                raise no_such_module("adapter.target_modules", name, known)
            if unable.issuperset(meant):
                raise ConfigError(
                    t("adapter.target_modules: {name!r} cannot carry an adapter.", name=name),
                    fix=t("Remove it. Supported layers: {names}.",
                          names=kinds_of(set(linear) - unable)),
                )  # fmt: skip
        return list(names)


def _no_dropout(found: float) -> ConfigError:
    """The error for dropout on stacked expert and router weights, which PEFT does not support."""
    return ConfigError(
        t(
            "adapter.dropout is {found}, but this model's experts and router are stacked "
            "weights, which adapters with dropout do not support.",
            found=found,
        ),
        fix=t("Set adapter.dropout to 0."),
        setting="adapter.dropout",
    )
