"""Load settings: defaults < preset < files < flags, each value with its origin.

The only way from files and flags to a ``Config``. All problems of a request are reported at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunery.config import explain, read, rules, settings
from tunery.config.config import Config
from tunery.config.flags import Flags, parse, unknown_flag
from tunery.config.frozen import META, dump, read_frozen, read_frozen_meta, write_frozen
from tunery.config.layers import Layer, Merged, file_layer, preset_layer
from tunery.errors import ConfigError
from tunery.i18n import t

__all__ = [
    "Loaded",
    "dump",
    "from_text",
    "from_tokens",
    "load",
    "read_frozen",
    "read_frozen_meta",
    "write_frozen",
]


@dataclass(frozen=True)
class Loaded:
    """Settings and the origin of each.

    Args:
        config: The settings.
        origins: By path: ``default``, ``preset NAME``, ``FILE line N``, ``--flag``.
        warnings: Sentences about settings that are allowed but unwise.
    """

    config: Config
    origins: dict[str, str]
    warnings: tuple[str, ...] = ()


def load(
    files: Sequence[Path] = (),
    flags: Sequence[str] = (),
    *,
    preset: str | None = None,
    options: Sequence[str] = (),
) -> Loaded:
    """Load settings.

    Args:
        files: Settings files; later ones override earlier ones.
        flags: Arguments such as ``--adapter.rank 8``; files among them come after ``files``.
        preset: A preset's name; by default the one named by a flag or a file.
        options: The command's own options, for near misses.

    Raises:
        ConfigError: Something is wrong; the message lists all problems.
        UnknownName: No preset has that name.
    """
    return _load(files, flags, preset, options)


def from_tokens(tokens: Sequence[str], *, options: Sequence[str] = ()) -> Loaded:
    """Load settings from command-line arguments: files and flags in any order.

    Args:
        tokens: The arguments that the command itself did not consume.
        options: The command's own options (``--name``), for near misses.

    Raises:
        ConfigError: Something is wrong; the message lists all problems.
    """
    return _load((), tokens, None, options)


def from_text(text: str, name: str) -> Loaded:
    """Load settings from the text of a settings file.

    Args:
        text: YAML.
        name: The name to use for the file in messages and origins.

    Raises:
        ConfigError: Something is wrong; the message lists all problems.
        UnknownName: There is no preset with the name given in the text.
    """
    document = read.parse(text, name)
    layer = Layer(name, document.values, document.lines, document.raw)
    return _merge([layer], parse(()), None, ())


def _load(
    files: Sequence[Path], words: Sequence[str], preset: str | None, options: Sequence[str]
) -> Loaded:
    given = parse(words)
    return _merge([file_layer(path) for path in (*files, *given.files)], given, preset, options)


def _merge(
    below: Sequence[Layer], given: Flags, preset: str | None, options: Sequence[str]
) -> Loaded:
    layers = [_without_meta(layer) for layer in below]
    top = Layer("", given.values)
    chosen = preset or _preset([*layers, top])
    merged = Merged()
    if chosen:
        merged.add(preset_layer(chosen))
    for layer in (*layers, top):
        merged.add(layer)
    merged.values["preset"] = chosen
    merged.fill_types()

    problems = [*given.problems]
    problems += [unknown_flag(name, merged.values, options) for name in given.unknown]
    config, wrong = explain.validate(merged.values, merged.where)
    problems += wrong
    if config is not None:
        problems += rules.contradictions(config, merged.where)
    explain.fail(problems)
    assert config is not None
    return Loaded(config, _origins(config, merged), tuple(rules.warnings(config)))


def _preset(layers: Sequence[Layer]) -> str | None:
    for layer in reversed(layers):
        if "preset" in layer.values:
            name = layer.values["preset"]
            if name is not None and not isinstance(name, str):
                message = t("preset must be a name, got {value}.", value=explain.shown(name))
                raise ConfigError(message, setting="preset")
            return name
    return None


def _without_meta(layer: Layer) -> Layer:
    values = {key: value for key, value in layer.values.items() if key != META}
    return Layer(layer.name, values, layer.lines, layer.raw)


def _origins(config: Config, merged: Merged) -> dict[str, str]:
    found: dict[str, str] = {}
    values = config.model_dump()
    for setting in settings.walk():
        if setting.is_in(values):
            found[setting.path] = merged.origin(setting.path)
    return found
