"""LoRA's settings for a model: PEFT's config, with every name found in the model.

Settings that PEFT cannot combine (a regular expression with numbers of layers) or reads differently
(it wraps every module whose name ends with the same letters) are resolved here to full names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from peft import LoraConfig as PeftLora
from torch import nn

from tunery.adapters.targets import kinds_of, stacked_experts
from tunery.config.adapters.lora import LoraConfig
from tunery.config.adapters.names import is_meant, is_pattern, layer_of, listed, pattern_fits
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.models.heads import SCORES_TASK, output_layer, scalar_head
from tunery.models.linear import LINEAR, LeftOut, left_out, no_such_module

NOTHING_LEFT_OUT = LeftOut((), (), ())
INITS: dict[str, bool | str] = {"gaussian": "gaussian", "orthogonal": "orthogonal"}
"""Beginnings that PEFT makes alone; the others begin as its default."""


def peft_settings(config: LoraConfig, model: nn.Module, left: LeftOut) -> PeftLora:
    """PEFT's settings for a new adapter.

    Args:
        config: Our settings.
        model: The base model, without adapters; it may be on the meta device.
        left: What ``all-linear`` leaves out of this model.

    Raises:
        ConfigError: A name matches nothing, or what it matches cannot carry an adapter.
    """
    saved, task = _saved(config, model), "CAUSAL_LM"
    targets, exclude = _targets(config, model, left, saved)
    if (scalar := scalar_head(model)) is not None:
        saved, task = [*saved, *({scalar[0]} - {*saved})], SCORES_TASK
    return PeftLora(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type] # peft takes any number
        lora_dropout=config.dropout,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        init_lora_weights=INITS.get(config.init, True),  # type: ignore[arg-type]
        target_modules=targets,
        target_parameters=_parameters(config, model) or None,
        exclude_modules=exclude or None,
        rank_pattern=dict(config.rank_pattern),
        alpha_pattern=dict(config.alpha_pattern),
        modules_to_save=saved or None,
        task_type=task,
    )


def check_patterns(config: LoraConfig, adapted: Collection[str]) -> None:
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
                raise no_such_module(f"adapter.{setting}", key, _short(adapted))


def _targets(
    config: LoraConfig, model: nn.Module, left: LeftOut, saved: list[str]
) -> tuple[str | list[str], list[str]]:
    """``target_modules`` and ``exclude_modules`` for PEFT."""
    wanted = config.target_modules
    scalar = scalar_head(model)  # always trained in full
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, LINEAR) and (scalar is None or name != scalar[0])
    ]
    if is_pattern(wanted):
        if not any(config.model_copy(update=ONLY_TARGETS).selects(name) for name in linear):
            raise _fits_nothing("adapter.target_modules", str(wanted), linear)
    elif wanted != "all-linear":
        _check_names(listed(wanted), model, linear)
    excluded = _excluded(config, linear)
    _check_layers(config, linear)
    in_words = not is_pattern(wanted) and not is_pattern(config.exclude_modules)
    if in_words and not config.layers_to_transform:
        names = wanted if wanted == "all-linear" else listed(wanted)
        if names and not any(config.selects(name) for name in linear) and not saved:
            raise _nothing_left(config)
        return names, [*left.exclude, *listed(config.exclude_modules)] if excluded else list(
            left.exclude
        )
    unable = {*left_out(model).own_forward, *left_out(model).weight_only}
    head = output_layer(model)
    chosen = [
        name
        for name in linear
        if config.selects(name)
        and name not in unable
        and not (wanted == "all-linear" and model.get_submodule(name) is head)
    ]
    if not chosen:
        raise _nothing_left(config)
    return chosen, []


ONLY_TARGETS: dict[str, Any] = {
    "exclude_modules": [], "layers_to_transform": [], "modules_to_save": [],
}  # fmt: skip
"""Without the settings that narrow the choice."""


def _check_names(names: Iterable[str], model: nn.Module, linear: Collection[str]) -> None:
    unable = {*(left := left_out(model)).own_forward, *left.weight_only}
    for name in names:
        meant = [known for known in linear if is_meant(known, name)]
        if not meant:
            raise no_such_module("adapter.target_modules", name, _short(set(linear) - unable))
        if unable.issuperset(meant):
            raise ConfigError(
                t("adapter.target_modules: {name!r} cannot carry an adapter.", name=name),
                fix=t("Remove it. Supported layers: {names}.",
                      names=kinds_of(set(linear) - unable)),
            )  # fmt: skip


def _excluded(config: LoraConfig, linear: Collection[str]) -> bool:
    """Whether something is excluded; every name must be one of a linear layer."""
    wanted = config.exclude_modules
    if is_pattern(wanted):
        only = config.model_copy(update={**ONLY_TARGETS, "target_modules": wanted})
        if not any(only.selects(name) for name in linear):
            raise _fits_nothing("adapter.exclude_modules", str(wanted), linear)
    else:
        for name in listed(wanted):
            if not any(is_meant(known, name) for known in linear):
                raise no_such_module("adapter.exclude_modules", name, _short(linear))
    return bool(wanted)


def _check_layers(config: LoraConfig, linear: Iterable[str]) -> None:
    found = {number for name in linear if (number := layer_of(name)) is not None}
    last = max(found, default=-1)
    for number in config.layers_to_transform:
        if number not in found:
            raise ConfigError(
                t("adapter.layers_to_transform: this model has no decoder layer {number} with "
                  "linear layers.", number=number),
                fix=t("Its layers have the numbers 0 to {last}.", last=last) if found else "",
                setting="adapter.layers_to_transform",
            )  # fmt: skip


def _saved(config: LoraConfig, model: nn.Module) -> list[str]:
    """Full names of the modules that are trained in full."""
    modules = dict(model.named_modules(remove_duplicate=False))
    found: list[str] = []
    for wanted in config.modules_to_save:
        meant = [
            name
            for name, module in modules.items()
            if name and is_meant(name, wanted) and any(True for _ in module.parameters())
        ]
        if not meant:
            known = {n for n, m in modules.items() if n and any(True for _ in m.parameters())}
            outside = {name for name in known if layer_of(f"{name}.") is None}
            raise no_such_module("adapter.modules_to_save", wanted, _short(known) | _short(outside))
        found += [name for name in meant if name not in found]
    return found


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


def _short(names: Iterable[str]) -> set[str]:
    return {name.rpartition(".")[2] for name in names}


def _fits_nothing(setting: str, pattern: str, linear: Iterable[str]) -> ConfigError:
    example = next(iter(linear), "")
    return ConfigError(
        t("{setting}: no linear layer of this model matches {pattern!r}.",
          setting=setting, pattern=pattern),
        fix=t("The pattern must match a whole name, such as {example}.", example=example),
        setting=setting,
    )  # fmt: skip


def _nothing_left(config: LoraConfig) -> ConfigError:
    narrowing = [
        f"adapter.{name}"
        for name in ("target_modules", "exclude_modules", "layers_to_transform", "modules_to_save")
        if getattr(config, name) and getattr(config, name) != "all-linear"
    ]
    return ConfigError(
        t("No linear layer of this model is selected by {settings}.",
          settings=", ".join(narrowing)),
        fix=t("Select more layers, or exclude fewer."),
        setting=narrowing[0] if narrowing else None,
    )  # fmt: skip
