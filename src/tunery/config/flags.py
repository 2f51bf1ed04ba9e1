"""Settings on the command line: ``--section.field value`` becomes a layer.

Converts text to values: switches, lists, names with values. Arguments without dashes are settings
files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunery import env
from tunery.config import annotations, explain, read, settings
from tunery.config.explain import Problem
from tunery.config.layers import SHORT
from tunery.errors import ConfigError, did_you_mean
from tunery.i18n import t

SWITCHES = {"true": True, "yes": True, "on": True, "1": True}
SWITCHES |= {"false": False, "no": False, "off": False, "0": False}
NOTHING = ("null", "none", "~")


@dataclass
class Flags:
    """The settings given on a command line.

    Args:
        files: Settings files, in order.
        places: The position of each of them among the arguments.
        values: The flags' values, nested.
        unknown: Flags that are not settings, as written, without dashes.
        problems: What is wrong with the way they are written.
    """

    files: list[Path] = field(default_factory=list)
    places: list[int] = field(default_factory=list[int])
    values: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def parse(words: Sequence[str]) -> Flags:
    """Parse the arguments of a command line.

    Args:
        words: Files and flags, in any order; a later flag overrides an earlier one, and a list
            given twice is extended.
    """
    found = Flags()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            found.places += range(len(words) - len(rest), len(words))
            found.files += [env.expanded(each) for each in rest]
            break
        if word.startswith("--") and len(word) > 2:
            _flag(word, rest, found)
        elif word.startswith("-") and len(word) > 1:
            message = t("{word}: no such option.", word=word)
            found.problems.append(
                Problem(word, message, t("Settings start with two dashes: --data.train"))
            )
        else:
            found.places.append(len(words) - len(rest) - 1)
            found.files.append(env.expanded(word))
    return found


def names_among(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments of a command into names, such as those of datasets, and settings.

    An argument without dashes is a name unless it is a flag's value or a settings file (.yaml).

    Args:
        words: Names, settings files and flags, in any order.

    Returns:
        The names, and the other arguments.
    """
    places = [at for at in parse(words).places if not words[at].lower().endswith((".yaml", ".yml"))]
    return [words[at] for at in places], [w for at, w in enumerate(words) if at not in places]


def unknown_flag(path: str, values: dict[str, Any], options: Sequence[str] = ()) -> Problem:
    """Explain a flag that is not a setting; ``options`` are the command's own, for near misses."""
    near = did_you_mean(f"--{path}", options) if "." not in path else ""
    if near:
        return Problem(path, t("--{name}: no such option.", name=path), near)
    return explain.unknown(path, values)


def _flag(word: str, rest: list[str], found: Flags) -> None:
    name, equals, text = word[2:].partition("=")
    value: str | None = text if equals else None
    path, negated = _resolve(name)
    setting = settings.find(path)
    if setting is None:
        found.unknown.append(name)
        if value is None and rest and not rest[0].startswith("--") and not _is_file(rest[0]):
            rest.pop(0)
        return
    if setting.is_bool:
        if value is None and rest and rest[0].lower() in (*SWITCHES, *NOTHING):
            value = rest.pop(0)
        on = "true" if value is None else value
        switch = SWITCHES.get(on.lower(), on)
        if negated and isinstance(switch, bool):
            switch = not switch
        _put(found.values, path, None if on.lower() in NOTHING else switch)
        return
    if value is None:
        if not rest or (rest[0].startswith("--") and len(rest[0]) > 2):
            message = t(
                "--{name}: a value is missing; expected {kind}.", name=name, kind=setting.type
            )
            fix = t("For a value that begins with dashes, write --{name}=VALUE", name=name)
            found.problems.append(Problem(path, message, fix if rest else ""))
            return
        value = rest.pop(0)
    try:
        _store(found.values, path, setting, value)
    except ConfigError as error:
        found.problems.append(Problem(path, f"--{name}: {error.message}", error.fix))


def _resolve(name: str) -> tuple[str, bool]:
    """Find the setting that a flag means; its dashes may stand for underscores."""
    section, _, last = name.rpartition(".")
    candidates = [(name, False)]
    if last.startswith("no-"):
        candidates.append((_join(section, last[3:]), True))
    if name.startswith("no-"):
        candidates.append((name[3:], True))
    for candidate, negated in candidates:
        for path in (candidate, candidate.replace("-", "_")):
            setting = settings.find(path)
            if setting is not None and (setting.is_bool or not negated):
                return path, negated
    if name in SHORT:
        return f"{name}.{SHORT[name]}", False
    if name in settings.tagged():
        return f"{name}.type", False
    return name, False


def _store(values: dict[str, Any], path: str, setting: settings.Setting, text: str) -> None:
    if path != setting.path and not setting.is_dict:
        raise ConfigError(t("pass the full list: --{name} a,b", name=setting.path))
    value = _value(text, setting, inside=path != setting.path)
    before = settings.value_at(values, path)
    if setting.is_list and isinstance(before, list) and isinstance(value, list):
        value = before + value
    _put(values, path, value)


def _value(text: str, setting: settings.Setting, *, inside: bool) -> Any:
    if inside:
        return text
    if annotations.optional(setting.annotation) and text.lower() in NOTHING:
        return None
    if setting.is_dict:
        return _flow(text, dict)
    if setting.takes(list, tuple):
        if setting.is_list or text.startswith("[") or "," in text:
            return _list(text, setting)
        return text
    if setting.takes(int, float):
        number = read.scalar(text.strip().replace("_", ""))
        return number if isinstance(number, int | float) and not isinstance(number, bool) else text
    return text


def _list(text: str, setting: settings.Setting) -> list[Any]:
    if text.strip().startswith("["):
        try:
            items = _flow(text, list)
            return [read.scalar(str(i)) for i in items] if setting.takes(tuple) else items
        except ConfigError:
            if not setting.whole_text:
                raise
    if setting.whole_text:
        return [text]
    items = [item.strip() for item in text.split(",") if item.strip()]
    if setting.takes(tuple):
        return [read.scalar(item) for item in items]
    return list(items)


def _flow(text: str, kind: type) -> Any:
    """Parse ``[a, b]`` or ``{name: Tuna}``, keeping each item's text as written."""
    try:
        document = read.parse(f"value: {text}", "value")
    except ConfigError as error:
        raise ConfigError(
            t("{text!r} cannot be parsed.", text=text[:80]),
            fix=t("Write [a, b] for a list and {example} for names.", example="{name: Tuna}"),
        ) from error
    value = document.values["value"]
    if not isinstance(value, kind):
        wanted = "[a, b]" if kind is list else "{name: Tuna}"
        raise ConfigError(t("{text!r}: expected {wanted}.", text=text[:80], wanted=wanted))
    if isinstance(value, list):
        return [document.raw.get(f"value.{i}", each) for i, each in enumerate(value)]
    return {key: document.raw.get(f"value.{key}", each) for key, each in value.items()}


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    setting = settings.find(path)
    inside = setting is not None and path != setting.path
    owner = setting.path if setting is not None and inside else path
    *sections, last = owner.split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):  # an optional section that was off
            values[section] = {}
        values = values[section]
    if inside:
        values = values.setdefault(last, {})
        last = path[len(owner) + 1 :]
    value = settings.opened(path, value)
    if path not in settings.switches() or value != {} or not isinstance(values.get(last), dict):
        values[last] = value


def _is_file(word: str) -> bool:
    return word.lower().endswith((".yaml", ".yml", ".json"))


def _join(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name
