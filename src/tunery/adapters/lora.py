"""LoRA: low-rank matrices added to frozen linear layers (Hu et al. 2021), implemented by PEFT."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

from peft import LoraConfig as PeftLora
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn

from tunery.adapters.injected import NAME, PREFIX, Injected
from tunery.adapters.selection import choose, short
from tunery.adapters.start import as_plain_lora, measure_lengths, start_from_weights
from tunery.adapters.targets import frozen_experts, stacked_experts
from tunery.config.adapters.lora import LoraConfig
from tunery.config.adapters.names import is_meant, listed, pattern_fits
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.models.linear import LeftOut, no_such_module

INITS: dict[str, bool | str] = {"gaussian": "gaussian", "orthogonal": "orthogonal"}
"""Beginnings that PEFT makes alone; the others begin as its default."""


class Lora(Injected[LoraConfig]):
    """The ``lora`` adapter: fp32 matrices on frozen layers in the compute dtype."""

    def settings(self, model: nn.Module, left: LeftOut) -> PeftLora:
        """PEFT's settings for a new adapter."""
        config = self.config
        return PeftLora(
            r=config.rank,
            lora_alpha=config.alpha,  # type: ignore[arg-type] # peft takes any number
            lora_dropout=config.dropout,
            use_rslora=config.use_rslora,
            use_dora=config.use_dora,
            init_lora_weights=INITS.get(config.init, True),  # type: ignore[arg-type]
            target_parameters=_parameters(config, model) or None,
            rank_pattern=dict(config.rank_pattern),
            alpha_pattern=dict(config.alpha_pattern),
            **choose(config, model, left).settings,
        )

    def inject(self, model: nn.Module, settings: Any) -> PeftModel:
        """Add the matrices; check the patterns against the layers that got some."""
        with warnings.catch_warnings():
            # PEFT's table of expert layers names layers that all-linear does not select.
            warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern")
            try:
                made = super().inject(model, settings)
            except ValueError as error:
                if "lora_dropout" in str(error):
                    raise _no_dropout(self.config.dropout) from error
                if "use_dora" in str(error) or "variants like DoRA" in str(error):
                    raise _no_dora() from error
                raise
        adapted = [
            name.removeprefix(PREFIX)
            for name, module in made.named_modules()
            if isinstance(module, LoraLayer)
        ]
        _check_patterns(self.config, adapted)
        return made

    def begin(self, model: PeftModel) -> None:
        """Take the first values from the weights, where the settings ask for it."""
        if self.config.use_dora:
            measure_lengths(model, NAME)
        if self.config.starts_from_weights:
            start_from_weights(model, NAME, self.config)

    def stored(self, model: PeftModel, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Plain LoRA of the original weights, also after a start from the weights."""
        return as_plain_lora(model, NAME, tensors)

    def frozen(self, model: nn.Module) -> list[str]:
        """A message about experts that stay as they are."""
        frozen = frozen_experts(model)
        if not frozen:
            return []
        return [
            t(
                "The experts are not trained: {count} stacked weights with {numbers:,} "
                "of the model's {all:,} parameters stay unchanged. To train them too: "
                "--adapter.target_parameters all-experts",
                count=len(frozen),
                numbers=sum(frozen.values()),
                all=sum(p.numel() for p in model.parameters()),
            )
        ]


def _check_patterns(config: LoraConfig, adapted: Collection[str]) -> None:
    """Refuse a key of ``rank_pattern`` or ``alpha_pattern`` that fits no adapted layer.

    Args:
        config: The settings.
        adapted: Full names of the layers with matrices.

    Raises:
        ConfigError: A key fits none.
    """
    for setting in ("rank_pattern", "alpha_pattern"):
        for key in getattr(config, setting):
            if not any(pattern_fits(key, name) for name in adapted):
                raise no_such_module(f"adapter.{setting}", key, short(adapted))


def _parameters(config: LoraConfig, model: nn.Module) -> list[str]:
    wanted = config.target_parameters
    if wanted == "all-experts":
        found = stacked_experts(model)
        if not found:
            raise ConfigError(
                t("adapter.target_parameters is all-experts; this model has no stacked "
                  "experts."),
                fix=t("Remove adapter.target_parameters."),
            )  # fmt: skip
        return found
    names = listed(wanted)
    known = [name for name, _ in model.named_parameters()]
    for name in names:
        if not any(is_meant(own, name) for own in known):
            raise no_such_module("adapter.target_parameters", name, stacked_experts(model))
    return names


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
