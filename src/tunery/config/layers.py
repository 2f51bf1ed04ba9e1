"""Layers of settings, where a higher layer overrides a lower one: preset < files < flags.

A layer knows where each of its values was written. Merging applies two rules to sections: a new
``type`` drops the other settings of that section from the layers below, and one of two settings
that exclude each other drops the other one from the layers below.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from tunery.config import read, settings
from tunery.errors import unknown_name
from tunery.i18n import language, t

DEFAULT = "default"
ABOUT = "about"  # what a preset is for, in each language; not a setting
SHORT = {"model": "name"}  # ``model: demo`` is short for ``model: {name: demo}``
EXCLUSIVE = (
    ("optim.warmup_steps", "optim.warmup_ratio"),
    ("evaluate.datasets", "evaluate.split"),
)


@dataclass(frozen=True)
class Layer:
    """Settings from one source.

    Args:
        name: ``preset identity``, a file's path, or empty for flags.
        values: Its values, nested.
        lines: Line of each value by dotted path; empty for flags.
        raw: The original text of unquoted scalars, by dotted path.
    """

    name: str
    values: dict[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)
    raw: Mapping[str, str] = field(default_factory=dict)

    def where(self, path: str) -> str:
        """Return where a value was written, for a message; empty for a flag."""
        line = _nearest(self.lines, path)
        return t("{file} line {line}", file=self.name, line=line) if line else self.name

    def origin(self, path: str) -> str:
        """Return where a value comes from, for a table."""
        return self.where(path) or f"--{path}"


@dataclass
class Merged:
    """The result of merging the layers.

    Args:
        values: The effective values, nested; every section's ``type`` is filled in.
        sources: The layer that gave each value, by dotted path.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Layer] = field(default_factory=dict)

    def where(self, path: str) -> str:
        """Return where a setting was written, for a message; empty for a flag or a default."""
        layer = self._layer(path)
        return layer.where(path) if layer else ""

    def origin(self, path: str) -> str:
        """Return where a setting's value comes from: ``default``, preset, file line, or flag."""
        layer = self._layer(path)
        return layer.origin(path) if layer else DEFAULT

    def add(self, layer: Layer) -> None:
        """Add a layer on top."""
        values = expand(layer.values)
        for section, variants in settings.tagged().items():
            given = settings.value_at(values, f"{section}.type")
            if given is not None:
                current = settings.value_at(self.values, f"{section}.type")
                if given != (current or next(iter(variants))):
                    self._drop_variant(section)
        for one, other in (*EXCLUSIVE, *((b, a) for a, b in EXCLUSIVE)):
            if settings.value_at(values, one) and not settings.value_at(values, other):
                self._drop(other)
        self._merge(self.values, values, "", layer)

    def fill_types(self) -> None:
        """Write the default ``type`` into each section that has none."""
        for section, variants in settings.tagged().items():
            inside: Any = self.values
            for name in section.split("."):
                inside = inside.setdefault(name, {}) if isinstance(inside, dict) else None
            if isinstance(inside, dict):
                inside.setdefault("type", next(iter(variants)))

    def _merge(
        self, below: dict[str, Any], above: Mapping[str, Any], path: str, layer: Layer
    ) -> None:
        for key, value in above.items():
            here = f"{path}.{key}" if path else key
            setting = settings.find(here)
            if value == {} and setting is None:
                below.setdefault(key, {})  # an empty section sets nothing
                continue
            opens = setting is not None and setting.opens
            inside = isinstance(value, dict) and (
                opens or bool(value and (setting is None or setting.is_dict))
            )
            if inside:
                if not isinstance(below.get(key), dict):
                    below[key] = {}
                self._merge(below[key], value, here, layer)
            else:
                self._forget(here)
                below[key] = as_written(setting, here, value, layer.raw)
            if opens or not inside or here not in _group_paths():
                self.sources[here] = layer

    def _drop_variant(self, section: str) -> None:
        """Drop the settings that only the previous variant of a section has; shared ones stay."""
        inside = settings.value_at(self.values, section)
        for name in list(inside) if isinstance(inside, dict) else ():
            setting = settings.find(f"{section}.{name}")
            if setting is None or setting.variant is not None or name == "type":
                self._drop(f"{section}.{name}")

    def _drop(self, path: str) -> None:
        *sections, last = path.split(".")
        inside: Any = self.values
        for section in sections:
            inside = inside.get(section) if isinstance(inside, dict) else None
        if isinstance(inside, dict):
            inside.pop(last, None)
        self._forget(path)

    def _forget(self, path: str) -> None:
        for known in [p for p in self.sources if p == path or p.startswith(f"{path}.")]:
            del self.sources[known]

    def _layer(self, path: str) -> Layer | None:
        setting = settings.find(path)
        # The switch of a section is not the origin of the values in it.
        return _nearest(self.sources, path, below=setting.switch if setting else "")


def expand(values: Mapping[str, Any]) -> dict[str, Any]:
    """Expand short forms: ``model: demo``, ``method: dpo``, empty sections, dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        section, dot, rest = key.partition(".")
        if dot and section in settings.Config.model_fields:
            for name in reversed(rest.split(".")):
                value = {name: value}
            key = section
        if key in settings.tagged() and isinstance(value, str):
            value = {"type": value}
        elif key in SHORT and isinstance(value, str | int | float):
            value = {SHORT[key]: value}
        if value is None and key in settings.Config.model_fields and key != "preset":
            value = {}
        if isinstance(value, dict):
            value = {name: _section(f"{key}.{name}", each) for name, each in value.items()}
            if isinstance(found.get(key), dict):
                value = {**found[key], **value}
        found[key] = value
    return found


def as_written(
    setting: settings.Setting | None, path: str, value: Any, raw: Mapping[str, str]
) -> Any:
    """Give text settings their original characters: ``name: 007`` stays ``007``."""
    if setting is None or value is None:
        return value
    if isinstance(value, list):
        return [as_written(setting, f"{path}.{i}", each, raw) for i, each in enumerate(value)]
    if isinstance(value, str | bool | int | float):
        inside = path != setting.path
        text = setting.takes(list, dict) if inside else setting.takes(str, Path)
        numeric = setting.takes(int, float, bool, tuple)
        short = path.rpartition(".")[0] if path.endswith(".name") else path
        written = raw.get(path, raw.get(short))
        if text and not numeric and written is not None:
            return written
    return value


def preset_names() -> list[str]:
    """List the presets that come with Tunery."""
    folder = resources.files("tunery.config") / "presets"
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml"))


def preset_layer(name: str) -> Layer:
    """Read a preset.

    Raises:
        UnknownName: No preset has that name.
    """
    document = _preset(name)
    values = {key: value for key, value in document.values.items() if key != ABOUT}
    return Layer(f"preset {name}", values, {}, document.raw)


def preset_about(name: str) -> str:
    """Return what a preset is for, in the current language."""
    return str(_preset(name).values[ABOUT][language()])


def _preset(name: str) -> read.Document:
    if name not in preset_names():
        raise unknown_name("preset", name, preset_names())
    file = resources.files("tunery.config") / "presets" / f"{name}.yaml"
    return read.parse(file.read_text(encoding="utf-8"), f"{name}.yaml")


def file_layer(path: Path) -> Layer:
    """Read a settings file.

    Raises:
        ConfigError: It cannot be read as a settings file.
    """
    document = read.read_file(path)
    return Layer(str(path), document.values, document.lines, document.raw)


def _section(path: str, value: Any) -> Any:
    """An empty section sets nothing; an optional section is switched on or off."""
    if path in settings.switches():
        return settings.opened(path, value)
    return {} if value is None and path in _group_paths() else value


@functools.cache
def _group_paths() -> frozenset[str]:
    return frozenset(group.path for group in settings.groups())


def _nearest(table: Mapping[str, Any], path: str, *, below: str = "") -> Any:
    parts = path.split(".")
    for end in range(len(parts), len(below.split(".")) if below else 0, -1):
        found = table.get(".".join(parts[:end]))
        if found is not None:
            return found
    return None
