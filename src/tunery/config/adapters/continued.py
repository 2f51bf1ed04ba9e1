"""The settings of a run that continues from an adapter: its shape is the adapter's."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

from tunery.commands import quoted
from tunery.config.adapters.base import AdapterKind
from tunery.config.adapters.names import listed
from tunery.config.base import tag
from tunery.errors import ConfigError
from tunery.i18n import t

LAYERS = (
    "target_modules", "target_parameters", "exclude_modules", "layers_to_transform",
    "modules_to_save",
)  # fmt: skip
"""Settings that choose the layers, which are those of the adapter."""
Settings = TypeVar("Settings", bound=AdapterKind)


def from_adapter(
    settings: Settings, folder: Path, chosen: Collection[str], *, known: Iterable[type[AdapterKind]]
) -> Settings:
    """The settings with the adapter's rank, scale and kind.

    Args:
        settings: Of the run.
        folder: The adapter, in PEFT's format.
        chosen: Names of the settings that the user set; the others follow the adapter.
        known: The kinds of adapters that a run can continue.

    Raises:
        ConfigError: A setting of the user's contradicts the adapter.
    """
    stored: Any = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    _check_kind(settings, stored, folder, known)
    theirs = {ours: stored.get(name) for ours, name in settings.theirs.items()}
    found = {
        name: value
        for name, value in theirs.items()
        if value is not None and value != getattr(settings, name)
    }
    for name in LAYERS:
        own = getattr(settings, name, None)
        if name in chosen and own and _names(own) != _names(stored.get(name)):
            raise ConfigError(
                t(
                    "adapter.{name} is set, but the layers are those of {adapter}, which "
                    "this run continues.",
                    name=name,
                    adapter=folder,
                ),
                fix=t("Remove adapter.{name}, or use the base model to start over.", name=name),
            )
    for name in settings.beginning:
        if name in chosen and getattr(settings, name) != _default(settings, name):
            raise ConfigError(
                t(
                    "adapter.{name} is set, but this run continues {adapter}, whose matrices "
                    "have their values.",
                    name=name,
                    adapter=folder,
                ),
                fix=t("Remove adapter.{name}, or use the base model to start over.", name=name),
            )
    for name in sorted(found.keys() & set(chosen)):
        raise ConfigError(
            t(
                "adapter.{name} is {own}, but {adapter}, which this run continues, has {theirs}.",
                name=name,
                own=_shown(getattr(settings, name)),
                adapter=folder,
                theirs=_shown(found[name]),
            ),
            fix=t(
                "Set adapter.{name} to {theirs}, or use the base model to start over.",
                name=name,
                theirs=_shown(found[name]),
            ),
        )
    unset = {name: _default(settings, name) for name in settings.beginning}
    return settings.model_copy(update={**unset, **found})


def _check_kind(
    settings: AdapterKind, stored: Any, folder: Path, known: Iterable[type[AdapterKind]]
) -> None:
    """Refuse an adapter of another kind than the one that is set."""
    theirs = str(stored.get("peft_type"))
    if theirs == settings.peft_type:
        return
    ours = next((tag(kind) for kind in known if kind.peft_type == theirs), None)
    raise ConfigError(
        t(
            "adapter.type is {own}, but {adapter}, which this run continues, is of the kind "
            "{theirs}.",
            own=tag(type(settings)),
            adapter=folder,
            theirs=theirs,
        ),
        fix=t("Set adapter.type to {theirs}, or use the base model to start over.", theirs=ours)
        if ours
        else t("Merge it into a model first: tunery export {folder} --to merged NEW-MODEL",
               folder=quoted(str(folder))),
        setting="adapter.type",
    )  # fmt: skip


def _default(settings: AdapterKind, name: str) -> Any:
    return type(settings).model_fields[name].get_default(call_default_factory=True)


def _names(wanted: Any) -> set[str]:
    if isinstance(wanted, str):
        return set(listed(wanted))
    return set(map(str, wanted if isinstance(wanted, list) else [] if wanted is None else [wanted]))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
