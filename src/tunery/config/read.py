"""Read one settings file: YAML 1.2, with the line of every value, and without surprises.

The parser's events are converted to plain values here, so that limits apply while reading: size,
depth, aliases, no tags, no duplicate keys. What a setting means is decided elsewhere.
"""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunery import env
from tunery.errors import ConfigError
from tunery.i18n import t

ROWS = (
    ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".json", ".gz", ".zst",
)  # fmt: skip
"""Suffixes of files that hold dataset rows."""
MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_VALUES = 100_000  # counted with every alias expanded, so that aliases cannot explode
MAX_ALIASES = 100

_INT = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class Document:
    """A file's settings as plain values.

    Args:
        values: The file's content: dictionaries, lists, text, numbers, booleans, None.
        lines: 1-based line of every value, by dotted path (``data.train.0``).
        raw: The original text of every unquoted scalar, by dotted path, for text settings.
    """

    values: dict[str, Any]
    lines: dict[str, int]
    raw: dict[str, str]


def read_file(path: Path) -> Document:
    """Read a settings file.

    Raises:
        ConfigError: It is missing, empty, too large, not text, or not a YAML mapping; the message
            contains the line and the column.
    """
    return parse(_text(path), str(path))


def parse(text: str, name: str) -> Document:
    """Parse settings from text; ``name`` is used for the file in messages.

    Raises:
        ConfigError: As for ``read_file``.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="safe", pure=True)
    builder = _Builder(name)
    try:
        values = builder.build(yaml.parse(text))
    except MarkedYAMLError as error:
        raise _bad_yaml(name, error, text) from error
    except YAMLError as error:
        reason = str(error).splitlines()[0]
        raise _broken(
            t("{file}: not valid YAML: {reason}.", file=name, reason=reason), name
        ) from error
    if values is None:
        raise _broken(t("{file}: the file contains no settings.", file=name), name)
    if not isinstance(values, dict):
        raise _broken(t("{file} line 1: expected settings, such as model: demo.", file=name), name)
    return Document(values, builder.lines, builder.raw)


def scalar(text: str) -> Any:
    """Convert an unquoted scalar to a value by the core schema of YAML 1.2."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "").lower())
    return text


def _text(path: Path) -> str:
    try:
        if env.is_special(path):
            raise ConfigError(
                t("{file}: a pipe, socket or device, expected a file.", file=path),
                fix=t("Save its content to a file first."),
                path=path,
            )
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            t("{file}: no such file.", file=path),
            fix=t("Use a settings file (.yaml); pass settings as flags: --data.train NAME."),
            path=path,
        ) from error
    except IsADirectoryError as error:
        raise _broken(
            t("{file}: this is a folder, expected a file.", file=path), str(path)
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        code = getattr(error, "errno", None)
        if code == errno.EACCES:
            reason = t("permission denied")
        raise _broken(
            t("{file}: cannot be read: {reason}.", file=path, reason=reason), str(path)
        ) from error
    if len(data) > MAX_BYTES:
        raise _broken(
            t("{file}: larger than 1 MiB, so it is not a settings file.", file=path), str(path)
        )
    if not data.strip():
        raise _broken(t("{file}: the file is empty.", file=path), str(path))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = t(
            "{file} line {line}: not UTF-8 text, so not a settings file.", file=path, line=line
        )
        raise _broken(message, str(path), line) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        message = t("{file} line {line}: a binary file, not settings.", file=path, line=line)
        raise _broken(message, str(path), line)
    return text


def _bad_yaml(name: str, error: Any, text: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    reason = " ".join((error.problem or error.context or str(error)).split()).rstrip(".")
    message = t(
        "{file} line {line}, column {column}: not valid YAML: {reason}.",
        file=name,
        line=line,
        column=column,
        reason=reason,
    )
    lines = text.splitlines()
    tabs = line <= len(lines) and "\t" in lines[line - 1]
    fix = t("Indent with spaces, not with tabs.") if tabs else ""
    fix = _not_settings(name) or fix
    fix = fix or t("Check this line and the previous one for a missing quote, colon or bracket.")
    return ConfigError(message, fix=fix, path=name, line=line)


def _broken(message: str, name: str, line: int | None = None) -> ConfigError:
    fix = _not_settings(name)
    fix = fix or t(
        "A settings file looks like this: model: demo, then data:, train: [identity] ..."
    )
    return ConfigError(message, fix=fix, path=name, line=line)


@dataclass
class _Builder:
    """Turns parser events into values; one builder per document."""

    name: str
    lines: dict[str, int] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)
    _anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    _open: set[str] = field(default_factory=set)
    _count: int = 0
    _aliases: int = 0

    def build(self, events: Iterator[Any]) -> Any:
        value: Any = None
        documents = 0
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise self._error(event, t("a second document (---); only one is allowed"))
            elif kind not in ("StreamStartEvent", "DocumentEndEvent", "StreamEndEvent"):
                value = self._value(event, events, "", 1)
        return value

    def _value(self, event: Any, events: Iterator[Any], path: str, depth: int) -> Any:
        kind = type(event).__name__
        self.lines[path] = event.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise self._error(event, t("more than {count} values", count=MAX_VALUES))
        if kind == "AliasEvent":
            return self._alias(event)
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in ("tag:yaml.org,2002:str", "!"):
            raise self._error(event, t("the tag {tag} is not supported", tag=str(tag)[:60]))
        if depth > MAX_DEPTH:
            raise self._error(event, t("more than {count} levels deep", count=MAX_DEPTH))
        before = self._count
        if event.anchor:
            self._open.add(event.anchor)
        if kind == "ScalarEvent":
            plain = event.implicit[0] and tag is None
            value = scalar(event.value) if plain else event.value
            if plain:
                self.raw[path] = event.value
        elif kind == "SequenceStartEvent":
            value = self._sequence(events, path, depth)
        else:
            value = self._mapping(events, path, depth)
        if event.anchor:
            self._open.discard(event.anchor)
            self._anchors[event.anchor] = (value, self._count - before + 1)
        return value

    def _sequence(self, events: Iterator[Any], path: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while type(event := next(events)).__name__ != "SequenceEndEvent":
            items.append(self._value(event, events, _join(path, str(len(items))), depth + 1))
        return items

    def _mapping(self, events: Iterator[Any], path: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        inherited: dict[str, Any] = {}
        first: dict[str, int] = {}
        while type(event := next(events)).__name__ != "MappingEndEvent":
            if type(event).__name__ != "ScalarEvent":
                raise self._error(event, t("expected a name"))
            key, line = event.value, event.start_mark.line + 1
            if key in first:
                reason = t("{key} is already set in line {line}", key=key, line=first[key])
                raise self._error(event, reason)
            first[key] = line
            value = self._value(next(events), events, _join(path, key), depth + 1)
            self.lines[_join(path, key)] = line
            if key == "<<" and isinstance(value, dict):
                inherited = value
            else:
                found[key] = value
        for key in inherited.keys() - found.keys():
            self.lines[_join(path, key)] = first["<<"]
        return {**inherited, **found}

    def _alias(self, event: Any) -> Any:
        self._aliases += 1
        if event.anchor in self._open or event.anchor not in self._anchors:
            raise self._error(
                event, t("*{name} has no matching anchor before it", name=event.anchor)
            )
        value, size = self._anchors[event.anchor]
        self._count += size
        if self._aliases > MAX_ALIASES or self._count > MAX_VALUES:
            raise self._error(event, t("too many aliases (*{name})", name=event.anchor))
        return value

    def _error(self, event: Any, reason: str) -> ConfigError:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        message = t(
            "{file} line {line}, column {column}: {reason}.",
            file=self.name,
            line=line,
            column=column,
            reason=reason,
        )
        return ConfigError(message, path=self.name, line=line)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _not_settings(name: str) -> str:
    """What to do with a file that holds rows, not settings; empty for a settings file."""
    if not name.lower().endswith(ROWS):
        return ""
    return t("A settings file is YAML. To train on this file: --data.train {file}",
             file=shlex.quote(name))  # fmt: skip
