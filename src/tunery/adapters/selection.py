"""The layers that the settings of an adapter select in a model, as PEFT's settings name them.

Settings that PEFT cannot combine (a regular expression with numbers of layers) or reads differently
(it wraps every module whose name ends with the same letters) are resolved here to full names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from tunery.adapters.targets import kinds_of
from tunery.config.adapters.layered import Layered
from tunery.config.adapters.names import is_meant, is_pattern, layer_of, listed
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.models.heads import SCORES_TASK, output_layer, scalar_head
from tunery.models.linear import LINEAR, LeftOut, left_out, no_such_module

NOTHING_LEFT_OUT = LeftOut((), (), ())


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an adapter is made on, with PEFT's names.

    Args:
        targets: ``target_modules``: ``all-linear``, names, or full names.
        exclude: ``exclude_modules``.
        saved: ``modules_to_save``, by full name.
        task: ``task_type``.
    """

    targets: str | list[str]
    exclude: list[str]
    saved: list[str]
    task: str

    @property
    def settings(self) -> dict[str, Any]:
        """As arguments of PEFT's config classes."""
        return {
            "target_modules": self.targets,
            "modules_to_save": self.saved or None,
            "task_type": self.task,
            **({"exclude_modules": self.exclude} if self.exclude else {}),
        }


def choose(
    config: Layered, model: nn.Module, left: LeftOut, *, by_full_name: bool = False
) -> Chosen:
    """Find the layers of a new adapter.

    Args:
        config: Our settings.
        model: The base model, without adapters; it may be on the meta device.
        left: What ``all-linear`` leaves out of this model.
        by_full_name: Whether to name each layer in full, for a config class of PEFT that cannot
            exclude layers.

    Raises:
        ConfigError: A name matches nothing, or what it matches cannot carry an adapter.
    """
    saved, task = _saved(config, model), "CAUSAL_LM"
    targets, exclude = _targets(config, model, left, saved, by_full_name=by_full_name)
    if (scalar := scalar_head(model)) is not None:
        saved, task = [*saved, *({scalar[0]} - {*saved})], SCORES_TASK
    return Chosen(targets, exclude, saved, task)


def _targets(
    config: Layered,
    model: nn.Module,
    left: LeftOut,
    saved: list[str],
    *,
    by_full_name: bool,
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
    if in_words and not config.layers_to_transform and not by_full_name:
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
            raise no_such_module("adapter.target_modules", name, short(set(linear) - unable))
        if unable.issuperset(meant):
            raise ConfigError(
                t("adapter.target_modules: {name!r} cannot carry an adapter.", name=name),
                fix=t("Remove it. Supported layers: {names}.",
                      names=kinds_of(set(linear) - unable)),
            )  # fmt: skip


def _excluded(config: Layered, linear: Collection[str]) -> bool:
    """Whether something is excluded; every name must be one of a linear layer."""
    wanted = config.exclude_modules
    if is_pattern(wanted):
        only = config.model_copy(update={**ONLY_TARGETS, "target_modules": wanted})
        if not any(only.selects(name) for name in linear):
            raise _fits_nothing("adapter.exclude_modules", str(wanted), linear)
    else:
        for name in listed(wanted):
            if not any(is_meant(known, name) for known in linear):
                raise no_such_module("adapter.exclude_modules", name, short(linear))
    return bool(wanted)


def _check_layers(config: Layered, linear: Iterable[str]) -> None:
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


def _saved(config: Layered, model: nn.Module) -> list[str]:
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
            raise no_such_module("adapter.modules_to_save", wanted, short(known) | short(outside))
        found += [name for name in meant if name not in found]
    return found


def short(names: Iterable[str]) -> set[str]:
    """The last parts of names."""
    return {name.rpartition(".")[2] for name in names}


def _fits_nothing(setting: str, pattern: str, linear: Iterable[str]) -> ConfigError:
    example = next(iter(linear), "")
    return ConfigError(
        t("{setting}: no linear layer of this model matches {pattern!r}.",
          setting=setting, pattern=pattern),
        fix=t("The pattern must match a whole name, such as {example}.", example=example),
        setting=setting,
    )  # fmt: skip


def _nothing_left(config: Layered) -> ConfigError:
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
