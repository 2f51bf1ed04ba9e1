"""The walk over all settings: one list that flags, help, forms, docs and errors read.

A setting is a pydantic field; nothing is declared here. ``path`` is what users write, ``key`` also
names the variant it belongs to (``adapter.lora.rank``) and is used to find its translation.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tunery import i18n
from tunery.config.annotations import (
    alternatives,
    bounds,
    choices,
    item_words,
    optional,
    type_words,
)
from tunery.config.base import WholeText, tag
from tunery.config.config import Config


@dataclass(frozen=True)
class Group:
    """A section, or one variant of a section that has a ``type``.

    Args:
        key: ``data``, ``data.replay``, ``adapter``, ``adapter.lora``.
        path: The prefix of its settings: ``adapter`` for ``adapter.lora``.
        variant: The ``type`` that selects it; None for a plain section.
        english: What it is, in one English sentence.
    """

    key: str
    path: str
    variant: str | None
    english: str

    def help(self, language: str | None = None) -> str:
        """Return what it is, in a language (default: the current one)."""
        return _help(self.key, self.english, language)


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        path: What users write: ``adapter.rank``.
        key: Path with its variant: ``adapter.lora.rank``.
        section: Path of its section: ``adapter``; empty at the top level.
        variant: The ``type`` of the section that has this setting; None if all have it.
        annotation: Its Python type.
        default: Its default, as plain data.
        choices: The accepted words, if there is a fixed list.
        bounds: Limits as symbols, such as ``>= 1, <= 4096``.
        english: Its help in English.
        whole_text: Whether commas are part of the text and not separators.
        opens: Whether it is the switch of the optional section at its path.
        switch: Path of the optional section that contains it; empty if there is none.
    """

    path: str
    key: str
    section: str
    variant: str | None
    annotation: Any
    default: Any
    choices: tuple[str, ...]
    bounds: str
    english: str
    whole_text: bool = False
    opens: bool = False
    switch: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def type(self) -> str:
        """What it accepts, in words of the current language."""
        return type_words(self.annotation)

    @property
    def item_type(self) -> str:
        """What one item of its list or dictionary accepts, in words."""
        return item_words(get_args(_without_none(self.annotation))[-1])

    @property
    def is_dict(self) -> bool:
        """Whether it accepts names with values."""
        return get_origin(_without_none(self.annotation)) is dict

    @property
    def is_list(self) -> bool:
        """Whether it accepts only a list."""
        return get_origin(_without_none(self.annotation)) in (list, tuple)

    @property
    def is_bool(self) -> bool:
        """Whether it is a switch."""
        return _without_none(self.annotation) is bool

    def takes(self, *kinds: type) -> bool:
        """Whether one of the alternatives of its type is one of ``kinds``."""
        return any((get_origin(a) or a) in kinds for a in alternatives(self.annotation))

    def value_in(self, values: Any) -> Any:
        """Its value in nested values; None if there is none."""
        found = value_at(values, self.path)
        return found is not None if self.opens and not isinstance(found, str) else found

    def is_in(self, values: Any) -> bool:
        """Whether nested values include this setting: its type is selected, its section is on."""
        if self.switch and value_at(values, self.switch) is None:
            return False
        return self.variant in (None, value_at(values, f"{self.section}.type"))

    def help(self, language: str | None = None) -> str:
        """Return what it is for, in a language (default: the current one)."""
        if self.path == f"{self.section}.type" and self.section in tagged():
            inside = [g for g in groups() if g.path == self.section]
            parts = (
                f"{g.variant}: {g.help(language)}" if g.variant else g.help(language)
                for g in inside
            )
            return " ".join(parts)
        return _help(self.key, self.english, language)

    def as_dict(self, language: str | None = None) -> dict[str, Any]:
        """Return it as plain data, for programs and pages."""
        return {
            "path": self.path,
            "variant": self.variant,
            "type": self.type,
            "default": self.default,
            "choices": list(self.choices),
            "bounds": self.bounds,
            "help": self.help(language),
        }


@functools.cache
def walk() -> tuple[Setting, ...]:
    """List every setting, in the order of the sections."""
    return tuple(item for item in _walk(Config, "", "", None) if isinstance(item, Setting))


@functools.cache
def groups() -> tuple[Group, ...]:
    """List every section and variant, in order, without the top level."""
    return tuple(item for item in _walk(Config, "", "", None) if isinstance(item, Group))


@functools.cache
def by_path() -> dict[str, tuple[Setting, ...]]:
    """Find settings by path; several if variants share a name."""
    found: dict[str, tuple[Setting, ...]] = {}
    for setting in walk():
        found[setting.path] = (*found.get(setting.path, ()), setting)
    return found


@functools.cache
def tagged() -> dict[str, dict[str, type[BaseModel]]]:
    """Find the sections that have a ``type``: path -> type -> class, the default first."""
    found: dict[str, dict[str, type[BaseModel]]] = {}

    def look(model: type[BaseModel], path: str) -> None:
        for name, info in model.model_fields.items():
            here, variants = _join(path, name), models_of(info.annotation)
            if len(variants) > 1:
                found[here] = _tags(info, variants)
            for each in variants:
                look(each, here)

    look(Config, "")
    return found


@functools.cache
def switches() -> frozenset[str]:
    """The paths of the optional sections."""
    return frozenset(setting.path for setting in walk() if setting.opens)


def opened(path: str, value: Any) -> Any:
    """The value that an optional section's switch means: an empty section, or None."""
    return ({} if value else None) if path in switches() and isinstance(value, bool) else value


def _tags(info: FieldInfo, variants: Sequence[type[BaseModel]]) -> dict[str, type[BaseModel]]:
    default = type(info.get_default(call_default_factory=True))
    ordered = sorted(variants, key=lambda model: model is not default)
    return {tag(model): model for model in ordered}


def find(path: str) -> Setting | None:
    """Return the setting that owns ``path``: itself, or the dictionary or list that contains it."""
    known = by_path()
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        settings = known.get(".".join(parts[:end]))
        if settings:
            inside = end < len(parts)
            return settings[0] if not inside or settings[0].takes(dict, list, tuple) else None
    return None


def value_at(values: Any, path: str) -> Any:
    """Return the value at a dotted path of nested values; None if there is none."""
    for part in path.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """List the config classes among the alternatives of a type."""
    return [
        each
        for each in alternatives(annotation)
        if inspect.isclass(each) and issubclass(each, BaseModel)
    ]


def under(path: str, prefix: str) -> bool:
    """Whether a setting is ``prefix`` or is inside it; an empty prefix contains all."""
    return not prefix or path == prefix or path.startswith(f"{prefix.rstrip('.')}.")


def show(value: Any) -> str:
    """Format a value as in a settings file, shortened."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


@functools.cache
def chinese() -> dict[str, str]:
    """The Chinese help of every setting and section, by key."""
    file = resources.files("tunery") / "locales" / "config_zh.json"
    return json.loads(file.read_text(encoding="utf-8"))


def _walk(
    model: type[BaseModel],
    path: str,
    key: str,
    variant: str | None,
    *,
    without: Collection[str] = (),
    switch: str = "",
) -> Iterator[Setting | Group]:
    later: list[tuple[str, str, type[BaseModel]]] = []
    for name, info in model.model_fields.items():
        if name in without:
            continue
        here, here_key = _join(path, name), _join(key, name)
        variants = models_of(info.annotation)
        if len(variants) > 1:
            yield Group(here_key, here, None, _sentence(info.description))
            yield _type_setting(here, here_key, info, variants)
            shared = _shared(variants)
            for field in shared:
                yield _setting(
                    _join(here, field), _join(here_key, field), here, variant,
                    variants[0].model_fields[field], switch,
                )  # fmt: skip
            for each in variants:
                name_ = tag(each)
                yield Group(f"{here_key}.{name_}", here, name_, _doc(each))
                yield from _walk(
                    each, here, f"{here_key}.{name_}", name_, without=shared, switch=switch
                )
        elif variants and optional(info.annotation):
            yield _switch(here, here_key, path, variant, variants[0])
            later.append((here, here_key, variants[0]))
        elif variants:
            yield Group(here_key, here, None, _doc(variants[0]))
            yield from _walk(variants[0], here, here_key, variant, switch=switch)
        elif not (variant and name == "type"):
            yield _setting(here, here_key, path, variant, info, switch)
    for here, here_key, inside in later:  # all switches of a section come first
        yield Group(here_key, here, None, _doc(inside))
        yield from _walk(inside, here, here_key, variant, switch=here)


def _switch(
    path: str, key: str, section: str, variant: str | None, model: type[BaseModel]
) -> Setting:
    return Setting(
        path=path,
        key=key,
        section=section,
        variant=variant,
        annotation=bool,
        default=False,
        choices=(),
        bounds="",
        english=_doc(model),
        opens=True,
    )


def _setting(
    path: str, key: str, section: str, variant: str | None, info: FieldInfo, switch: str
) -> Setting:
    default = info.get_default(call_default_factory=True)
    return Setting(
        path=path,
        key=key,
        section=section,
        variant=variant,
        annotation=info.annotation,
        default=_plain(None if default is PydanticUndefined else default),
        choices=choices(info.annotation),
        bounds=bounds(info),
        english=_sentence(info.description),
        whole_text=any(isinstance(mark, WholeText) for mark in info.metadata),
        switch=switch,
    )


def _shared(variants: Sequence[type[BaseModel]]) -> list[str]:
    """The fields that all variants of a section inherit from one base."""
    first, *others = variants
    return [
        name
        for name, info in first.model_fields.items()
        if name != "type"
        and all(
            name in other.model_fields
            and other.model_fields[name].default == info.default
            and other.model_fields[name].description == info.description
            for other in others
        )
    ]


def _type_setting(
    path: str, key: str, info: FieldInfo, variants: Sequence[type[BaseModel]]
) -> Setting:
    tags = tuple(_tags(info, variants))
    return Setting(
        path=f"{path}.type",
        key=f"{key}.type",
        section=path,
        variant=None,
        annotation=Literal[tags],  # pyright: ignore[reportInvalidTypeForm]
        default=tags[0],
        choices=tags,
        bounds="",
        english=_sentence(info.description),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _without_none(annotation: Any) -> Any:
    found = alternatives(annotation)
    return found[0] if len(found) == 1 else annotation


def _help(key: str, english: str, language: str | None) -> str:
    return chinese().get(key, english) if (language or i18n.language()) == "zh" else english


def _doc(model: type[BaseModel]) -> str:
    return _sentence(inspect.getdoc(model))


def _sentence(text: str | None) -> str:
    return " ".join((text or "").replace("``", "").split())


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
