"""Show, explain and compare settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunery import env
from tunery.config import layers, load, settings
from tunery.config.config import Config
from tunery.errors import UnknownName, did_you_mean
from tunery.i18n import joined, t
from tunery.runs.folder import RunFolder


@dataclass(frozen=True)
class Row:
    """One setting of a config: its path, value and origin."""

    path: str
    value: Any
    origin: str


@dataclass(frozen=True)
class Difference:
    """A setting whose value differs between two configs; None if one has no such setting."""

    path: str
    left: Any
    right: Any


def rows(loaded: load.Loaded) -> list[Row]:
    """List every setting of a config with its value and origin."""
    values = flat(loaded.config)
    return [Row(path, values[path], origin) for path, origin in loaded.origins.items()]


def flat(config: Config) -> dict[str, Any]:
    """Return every setting's value by path, as plain data."""
    values = config.model_dump(mode="json")
    return {s.path: s.value_in(values) for s in settings.walk() if s.is_in(values)}


def named(name: str) -> Config:
    """Find settings by name: a file, a preset, a run or a run folder.

    Raises:
        UnknownName: There is nothing of that name.
        ConfigError: The file cannot be read as settings.
    """
    path = env.expanded(name)
    if path.is_dir():
        return load.read_frozen(RunFolder(path).config_file)
    if path.exists() or path.suffix in (".yaml", ".yml", ".json"):
        document_is_frozen = path.name == "config.yaml" and load.read_frozen_meta(path)
        return load.read_frozen(path) if document_is_frozen else load.load([path]).config
    if name in layers.preset_names():
        return load.load(preset=name).config
    run = env.runs_dir() / name
    if "/" not in name and run.is_dir():
        return load.read_frozen(RunFolder(run).config_file)
    raise UnknownName(
        t("{name!r}: no such file, preset or run.", name=name),
        fix=joined(
            did_you_mean(name, layers.preset_names()),
            t("Presets: {names}. Runs: tunery runs list", names=", ".join(layers.preset_names())),
        ),
    )


def diff(left: str, right: str) -> list[Difference]:
    """Compare two configs, each a file, a preset, a run or a run folder.

    Raises:
        UnknownName: There is nothing of that name.
        ConfigError: A file cannot be read as settings.
    """
    return compare(named(left), named(right))


def compare(left: Config, right: Config) -> list[Difference]:
    """List the settings in which two configs differ."""
    one, other = flat(left), flat(right)
    paths = dict.fromkeys([*one, *other])
    return [
        Difference(path, one.get(path), other.get(path))
        for path in paths
        if path != "preset" and one.get(path, _ABSENT) != other.get(path, _ABSENT)
    ]


def listed(prefix: str = "") -> Sequence[settings.Setting]:
    """List the settings under a prefix.

    Raises:
        UnknownName: No setting starts with it.
    """
    found = [s for s in settings.walk() if settings.under(s.path, prefix)]
    if not found:
        known = [*settings.by_path(), *(group.path for group in settings.groups())]
        near = did_you_mean(prefix, known)
        raise UnknownName(t("{name}: no such setting or section.", name=prefix), fix=near)
    return found


_ABSENT = object()


def written(value: Any) -> str:
    """Write a value as it would appear in a file."""
    return "" if value is _ABSENT else settings.show(value)


def presets() -> dict[str, str]:
    """List the presets with a one-sentence description each."""
    return {name: layers.preset_about(name) for name in layers.preset_names()}
