"""Adapters that PEFT adds to the linear layers of a frozen model: made, loaded, written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic, TypeVar

from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from tunery.adapters.selection import NOTHING_LEFT_OUT
from tunery.adapters.targets import frozen_experts, kinds_of
from tunery.config.adapters.layered import Layered
from tunery.i18n import t
from tunery.models.attach import load_adapter
from tunery.models.heads import SCORES_TASK
from tunery.models.linear import LeftOut, left_out
from tunery.storage import write_tensors

NAME = "default"
"""The adapter's name in the model."""
PREFIX = "base_model.model."
"""What PEFT puts before the names of the base model's modules."""
Config = TypeVar("Config", bound=Layered)


class Injected(ABC, Generic[Config]):
    """An adapter in fp32 on frozen layers in the compute dtype; a kind says how PEFT makes it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._new = True
        self._left_out = NOTHING_LEFT_OUT

    @abstractmethod
    def settings(self, model: nn.Module, left: LeftOut) -> PeftConfig:
        """PEFT's settings for a new adapter.

        Args:
            model: The base model, without adapters; it may be on the meta device.
            left: What ``all-linear`` leaves out of this model.

        Raises:
            ConfigError: A name matches nothing, or what it matches cannot carry an adapter.
        """
        ...

    def inject(self, model: nn.Module, settings: Any) -> PeftModel:
        """Make a new adapter with PEFT.

        Raises:
            ConfigError: The model has layers that such an adapter does not fit.
        """
        made: Any = get_peft_model(model, settings, adapter_name=NAME)  # type: ignore[arg-type]
        return made

    def begin(self, model: PeftModel) -> None:
        """Set the first values of a new adapter, where PEFT's are not wanted."""

    def stored(self, model: PeftModel, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """The tensors and PEFT's settings to write.

        Args:
            model: The trained model.
            tensors: The adapter's tensors by their names in a file; not changed.
        """
        return tensors, model.peft_config[NAME]

    def frozen(self, model: nn.Module) -> list[str]:
        """Messages about large parts that such an adapter cannot or does not train."""
        frozen = frozen_experts(model)
        if not frozen:
            return []
        return [
            t(
                "The experts are not trained: {count} stacked weights with {numbers:,} of the "
                "model's {all:,} parameters stay unchanged.",
                count=len(frozen),
                numbers=sum(frozen.values()),
                all=sum(p.numel() for p in model.parameters()),
            )
        ]

    def attach(self, model: nn.Module, *, adapter: Path | None, base_name: str) -> nn.Module:
        """Add a new adapter, or load an existing one of the same shape."""
        for param in model.parameters():
            param.requires_grad_(False)
        self._new = adapter is None
        made: Any
        if adapter is not None:
            made = load_adapter(model, adapter, NAME, trainable=True)  # type: ignore[arg-type]
            self.config.continued(adapter, tuple(self.config.theirs)[:2])
        else:
            everything = self.config.target_modules == "all-linear"
            self._left_out = left_out(model) if everything else NOTHING_LEFT_OUT
            made = self.inject(model, self.settings(model, self._left_out))
        made.peft_config[NAME].base_model_name_or_path = base_name
        for name, param in made.named_parameters():
            # Fully trained modules keep the model's dtype; the optimizer keeps fp32 masters.
            if param.requires_grad and ".modules_to_save." not in name:
                param.data = param.data.float()
        if adapter is None:
            self.begin(made)
        return made

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
        tensors, settings = self.stored(model, trained)
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
        return [*told, *self.frozen(model)]
