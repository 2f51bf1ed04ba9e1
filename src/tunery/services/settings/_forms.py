"""The form of a run's settings, generated from the config classes alone.

Every setting of ``config.settings.walk`` becomes a field, so a method or an adapter that is added
later appears automatically: its name, help, bounds and default come from its class, and it is shown
while its ``type`` is selected. Only presentation is defined here: which settings come first,
display labels (``locales/labels.json``, English and Chinese by key), and where choices come from.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any, cast

from tunery import i18n
from tunery.config import annotations, settings
from tunery.config.methods import METHODS
from tunery.i18n import t
from tunery.types import is_object

WHAT = ("model.name", "data.train", "method.type", "adapter.type")
"""What to train: the choices at the top."""
MAIN = (
    "optim.learning_rate", "train.num_epochs", "evaluate.split",
    "train.batch_size", "data.max_length", "optim.schedule",
)  # fmt: skip
"""The settings that users change most; all others are under More settings."""
SOURCES = {
    "model.name": "models",
    "data.train": "datasets",
    "evaluate.datasets": "datasets",
    "data.replay.prompts": "datasets",
    "model.template": "templates",
    "data.format": "formats",
    **{f"method.{field}": "models" for kind in METHODS for field in kind.models},
}
"""Settings whose usual values are listed somewhere."""
MOST_SEGMENTS = 4
_TOKENS = ("data.max_length",)


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a field."""

    value: str
    label: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting as a form field.

    Args:
        path: Its path, the same everywhere: ``adapter.rank``.
        key: Path with its variant, unique in the form: ``adapter.lora.rank``.
        label: Its display name.
        help: What it does, in one or two sentences.
        unit: The unit of its number; may be empty.
        kind: ``switch select segmented number text list lines pairs``.
        options: The choices of a select, or the suggestions for a text field.
        bounds: Limits, written with symbols.
        default: The default as the field shows it.
        variant: The ``type`` that has it; empty if all have it.
        section: Path of its section.
        optional: Whether an empty field means "none".
        source: The list of its usual values: ``models``, ``datasets`` ...; may be empty.
        switch: Path of the switch that opens its section; empty if it is always open.
    """

    path: str
    key: str
    label: str
    help: str
    unit: str
    kind: str
    options: tuple[Option, ...]
    bounds: str
    default: Any
    variant: str
    section: str
    optional: bool
    source: str
    switch: str = ""

    @property
    def flag(self) -> str:
        """Its command-line flag."""
        return f"--{self.path}"


@dataclass(frozen=True, slots=True)
class Part:
    """A section of More settings, or one variant's part of it."""

    key: str
    path: str
    variant: str
    title: str
    help: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """Everything that can be set.

    Args:
        what: The choices at the top.
        main: The settings that users change most.
        more: All others, by section.
    """

    what: tuple[Field, ...]
    main: tuple[Field, ...]
    more: tuple[Part, ...]

    def fields(self) -> list[Field]:
        """List every field."""
        return [*self.what, *self.main, *(f for part in self.more for f in part.fields)]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the REST API."""
        return asdict(self)


def form() -> Form:
    """Make the form in the current language."""
    made = {setting.key: field_of(setting) for setting in settings.walk()}
    by_path = {each.path: each for each in made.values()}
    first = {*WHAT, *MAIN, "preset"}
    parts: list[Part] = []
    for group in settings.groups():
        inside = tuple(
            made[s.key]
            for s in settings.walk()
            if (s.section, s.variant) == (group.path, group.variant) and s.path not in first
        )
        if inside:
            title = label_of(group.key, group.path)
            parts.append(
                Part(group.key, group.path, group.variant or "", title, group.help(), inside)
            )
    return Form(
        what=tuple(by_path[path] for path in WHAT),
        main=tuple(by_path[path] for path in MAIN),
        more=tuple(parts),
    )


def field_of(setting: settings.Setting) -> Field:
    """Turn one setting into a field, in the current language."""
    options = _options(setting)
    return Field(
        path=setting.path,
        key=setting.key,
        label=label_of(setting.key, setting.path),
        help=_help(setting, options),
        unit=_unit(setting),
        kind=_kind(setting),
        options=options,
        bounds=setting.bounds,
        default=shown(setting, setting.default),
        variant=setting.variant or "",
        section=setting.section,
        optional=annotations.optional(setting.annotation),
        source=SOURCES.get(setting.path, ""),
        switch=setting.switch,
    )


def label_of(key: str, path: str) -> str:
    """The label of a setting or section; one without a label is shown by its path."""
    found = _labels().get(key) or _labels().get(path)
    if found:
        return found[1 if i18n.language() == "zh" else 0]
    name = key.rpartition(".")[2]
    words = re.sub(r"^num_", "", name).replace("_", " ")
    return words[:1].upper() + words[1:]


def shown(setting: settings.Setting, value: Any) -> Any:
    """Write a value as its field shows it: True/False, a list of strings, or text."""
    if setting.is_bool:
        return bool(value)
    if value is None:
        return ""
    if is_object(value):
        return "\n".join(f"{name}: {each}" for name, each in value.items())
    if isinstance(value, list | tuple):
        words = [_item(each) for each in cast("list[Any]", value)]
        if _kind(setting) in ("list", "lines"):
            return words if setting.path in SOURCES else "\n".join(words)
        return ", ".join(words)
    return _number(value)


def choices(path: str) -> dict[str, str]:
    """The labels of what a setting with a fixed list of words accepts, by word."""
    setting = settings.by_path()[path][0]
    return {option.value: option.label for option in _options(setting)}


@functools.cache
def _labels() -> dict[str, tuple[str, str]]:
    file = resources.files("tunery") / "locales" / "labels.json"
    return {k: (v[0], v[1]) for k, v in json.loads(file.read_text(encoding="utf-8")).items()}


def _options(setting: settings.Setting) -> tuple[Option, ...]:
    helps = {
        group.variant: group
        for group in settings.groups()
        if group.variant and f"{group.path}.type" == setting.path
    }
    return tuple(
        Option(choice, label_of(helps[choice].key, ""), helps[choice].help())
        if choice in helps
        else Option(choice, choice)
        for choice in setting.choices
    )


def _help(setting: settings.Setting, options: tuple[Option, ...]) -> str:
    """The help of a setting; for a choice between types, that of the section: each has its own."""
    if not any(option.help for option in options):
        return setting.help()
    group = next(g for g in settings.groups() if (g.path, g.variant) == (setting.section, None))
    return group.help()


def _kind(setting: settings.Setting) -> str:
    if setting.is_bool:
        return "switch"
    if setting.is_dict:
        return "pairs"
    if setting.takes(tuple):
        return "text"
    if setting.is_list:
        return "lines" if setting.whole_text else "list"
    if setting.choices and not setting.takes(int, float, str):
        few = len(setting.choices) <= MOST_SEGMENTS and sum(map(len, setting.choices)) < 32
        chosen = setting.path in WHAT or (few and setting.path not in MAIN)
        return "segmented" if chosen and few else "select"
    return "number" if setting.takes(int, float) and not setting.choices else "text"


def _unit(setting: settings.Setting) -> str:
    if setting.path in _TOKENS:
        return t("tokens")
    words = {
        "tokens": t("tokens"),
        "seconds": t("seconds"),
        "minutes": t("minutes"),
        "bytes": t("bytes"),
    }
    return words.get(setting.name.rpartition("_")[2], "")


def _item(value: Any) -> str:
    """Write one item of a list; an item of named values as ``name: value, name: value``."""
    if is_object(value):
        given = {name: each for name, each in value.items() if each is not None}
        return ", ".join(f"{name}: {_number(each)}" for name, each in given.items())
    return _number(value)


def _number(value: Any) -> str:
    """Write a number as people do: ``3``, ``0.05``, ``2e-4``."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if abs(value) >= 1e-3:
        return repr(value)
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
