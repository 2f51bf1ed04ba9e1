"""LoRA: low-rank matrices added to frozen linear layers (Hu et al. 2021), implemented by PEFT."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora.layer import LoraLayer
from torch import nn
from transformers import PreTrainedTokenizerBase

from tunery.adapters.selection import NOTHING_LEFT_OUT, check_patterns, peft_settings
from tunery.adapters.start import as_plain_lora, measure_lengths, start_from_weights
from tunery.adapters.targets import frozen_experts, kinds_of
from tunery.config.adapters.lora import LoraConfig
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.models.attach import load_adapter
from tunery.models.heads import SCORES_TASK
from tunery.models.linear import LeftOut, left_out
from tunery.storage import write_tensors

NAME = "default"


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
            lora = self._begin(model)
        lora.peft_config[NAME].base_model_name_or_path = base_name
        for name, param in lora.named_parameters():
            # Fully trained modules keep the model's dtype; the optimizer keeps fp32 masters.
            if param.requires_grad and ".modules_to_save." not in name:
                param.data = param.data.float()
        if adapter is None and self.config.use_dora:
            measure_lengths(lora, NAME)
        if adapter is None and self.config.starts_from_weights:
            start_from_weights(lora, NAME, self.config)
        return lora

    def _begin(self, model: nn.Module) -> Any:
        """A new adapter, as PEFT begins it."""
        self._left_out = self._all_linear_leaves_out(model)
        settings = peft_settings(self.config, model, self._left_out)
        with warnings.catch_warnings():
            # PEFT's table of expert layers names layers that all-linear does not select.
            warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern")
            try:
                lora: Any = get_peft_model(model, settings, adapter_name=NAME)  # type: ignore[arg-type]
            except ValueError as error:
                if "lora_dropout" in str(error):
                    raise _no_dropout(self.config.dropout) from error
                if "use_dora" in str(error) or "variants like DoRA" in str(error):
                    raise _no_dora() from error
                raise
        prefix = "base_model.model."
        adapted = [
            name.removeprefix(prefix)
            for name, module in lora.named_modules()
            if isinstance(module, LoraLayer)
        ]
        check_patterns(self.config, adapted)
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
        trained = get_peft_model_state_dict(model, save_embedding_layers=False)
        tensors, settings = as_plain_lora(model, NAME, trained)
        write_tensors(folder / "adapter_model.safetensors", tensors)
        settings.inference_mode = True
        if settings.task_type == SCORES_TASK:
            own = dict(model.get_base_model().named_modules())
            # PEFT adds every name of a head that it knows, more than once.
            saved = dict.fromkeys(settings.modules_to_save)
            settings.modules_to_save = [name for name in saved if name in own]
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


def _no_dora() -> ConfigError:
    """The error for DoRA on stacked expert and router weights, which PEFT does not support."""
    return ConfigError(
        t(
            "adapter.use_dora is true, but this model's experts and router are stacked "
            "weights, which DoRA does not support."
        ),
        fix=t("Set adapter.use_dora to false."),
        setting="adapter.use_dora",
    )
