"""The config file of a run: every value, and how the run was made.

``config.yaml`` in a run folder is an ordinary settings file with one additional key, ``_run``:
versions, hashes of the data, hardware. It is written once, atomically.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunery import atomic
from tunery.config import explain, read, settings
from tunery.config.config import Config
from tunery.errors import ConfigError
from tunery.i18n import t

META = "_run"

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./@+-]*(?<![.])")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def dump(config: Config) -> str:
    """Write every value as YAML; reading it returns the same config."""
    return to_yaml(config.model_dump(mode="json"))


def to_yaml(values: Mapping[str, Any]) -> str:
    """Write plain data as YAML 1.2: sections in blocks, lists of plain values on one line."""
    return "\n".join(_block(values, "")) + "\n"


def write_frozen(path: Path, config: Config, meta: Mapping[str, Any]) -> None:
    """Write a run's config file, atomically.

    Args:
        path: The file; its folder exists.
        config: The resolved settings.
        meta: Versions, data hashes, hardware: plain data, stored under ``_run``.
    """
    text = "# Written by Tunery when the run was made; reading it back repeats the run.\n"
    text += dump(config) + to_yaml({META: dict(meta)})
    atomic.write(path, text)
    atomic.flush(path.parent)


def read_frozen(path: Path) -> Config:
    """Read the settings of a run as recorded; presets and rules are not applied again.

    Raises:
        ConfigError: The file is missing, damaged, or from a version with other settings.
    """
    document = read.read_file(path)
    values = {key: value for key, value in document.values.items() if key != META}
    values = with_types(values)
    lines = document.lines

    def where(name: str) -> str:
        line = lines.get(name)
        return t("{file} line {line}", file=path, line=line) if line else str(path)

    config, problems = explain.validate(values, where)
    if config is None:
        made = document.values.get(META)
        version = made.get("tunery") if isinstance(made, Mapping) else None
        if version:
            fix = t(
                "The run was created by Tunery {version}; use that version for it.", version=version
            )
            problems = [*problems, explain.Problem(META, fix, where=str(path))]
        explain.fail(problems)
    assert config is not None
    return config


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as this version would have written them: missing ones get their default.

    A setting that was added later has a default that keeps the earlier behaviour; if that ever
    becomes impossible, its value is set here depending on the ``format`` of ``_run``. A record that
    cannot be interpreted is returned unchanged.
    """
    config, _ = explain.validate(with_types(values))
    return dict(values) if config is None else config.model_dump(mode="json")


def with_types(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the ``type`` of sections that had none when the record was written."""
    filled = dict(values)
    for path, variants in settings.tagged().items():
        *outer, last = path.split(".")
        inside: Any = filled
        for name in outer:
            inside = inside.get(name) if isinstance(inside, dict) else None
        if isinstance(inside, dict) and isinstance(inside.get(last), Mapping):
            inside[last] = {"type": next(iter(variants)), **inside[last]}
    return filled


def read_frozen_meta(path: Path) -> dict[str, Any]:
    """Read how a run was made: the ``_run`` part of its config file.

    Raises:
        ConfigError: The file is missing or damaged.
    """
    found = read.read_file(path).values.get(META, {})
    if not isinstance(found, dict):
        raise ConfigError(t("{file}: _run is damaged.", file=path), path=path)
    return found


def _block(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        name = f"{indent}{_scalar(str(key))}:"
        if isinstance(value, Mapping) and value:
            yield name
            yield from _block(value, f"{indent}  ")
        else:
            yield f"{name} {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_scalar(str(k))}: {_flow(v)}" for k, v in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, str):
        return _scalar(value)
    return json.dumps(value, allow_nan=False)


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
