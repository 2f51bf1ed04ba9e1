"""Errors about settings, as sentences: where, what is wrong, what was expected, what to do.

Turns pydantic's errors and unknown names into problems; all problems of a request are reported at
once. Values that look like secrets are never repeated.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tunery.commands import quoted
from tunery.config import annotations, settings
from tunery.config.config import Config
from tunery.config.foreign import FOREIGN, FOREIGN_VALUES
from tunery.errors import ConfigError
from tunery.i18n import joined, t

Where = Callable[[str], str]
MOST_SHOWN = 20
_LONE = re.compile("[\ud800-\udfff]")

_SECRET_NAME = re.compile(r"token|secret|password|passwd|api_?key|(^|_)key($|_)|credential", re.I)
_SECRET_VALUE = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|ms-[0-9a-f-]{30,}|gh[pousr]_[A-Za-z0-9]{30,}"
    r"|AKIA[A-Z0-9]{16})|://[^/\s:@]+:[^/\s:@]+@"
)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a request.

    Args:
        path: The setting, as written by users.
        message: What is wrong and what was expected, without the location.
        fix: What to do.
        where: ``train.yaml line 12``; empty for a flag, whose name is its location.
    """

    path: str
    message: str
    fix: str = ""
    where: str = ""

    @property
    def sentence(self) -> str:
        """The message preceded by its location."""
        if not self.where:
            return self.message
        return t("{place}: {words}", place=self.where, words=self.message)

    def as_dict(self) -> dict[str, str]:
        """Return it as plain data."""
        return {"setting": self.path, "where": self.where, "message": self.message, "fix": self.fix}


def fail(problems: Iterable[Problem]) -> None:
    """Raise one error that contains all problems; do nothing if there are none.

    Raises:
        ConfigError: There is a problem.
    """
    found = list(dict.fromkeys(problems))
    if not found:
        return
    details = [problem.as_dict() for problem in found]
    if len(found) == 1:
        raise ConfigError(
            found[0].sentence, fix=found[0].fix, setting=found[0].path, problems=details
        )
    lines: list[str] = [joined(p.sentence, p.fix) for p in found[:MOST_SHOWN]]
    if len(found) > MOST_SHOWN:
        lines.append(t("... and {count} more.", count=len(found) - MOST_SHOWN))
    fix = t("All settings: tunery config help. Settings of this request: tunery config show.")
    raise ConfigError(joined(*lines, between="\n"), fix=fix, problems=details)


def nowhere(path: str) -> str:
    """Return no location, for settings that do not come from a file."""
    return ""


def validate(
    values: Mapping[str, Any], where: Where = nowhere
) -> tuple[Config | None, list[Problem]]:
    """Check values against the declaration.

    Args:
        values: Nested settings with every ``type`` filled in.
        where: Returns the location of a setting, by path.

    Returns:
        The settings, or None and the problems.
    """
    refused = [_secret_value(path, where) for path, text in _texts(values) if _is_secret(text)]
    refused += broken_texts(values, where)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        return None, [*refused, *_explain_all(error, values, where)]
    return (None, refused) if refused else (config, [])


def broken_texts(values: Mapping[str, Any], where: Where = nowhere) -> list[Problem]:
    """Name every text with half a character (a lone surrogate), which no file can hold."""
    found: list[Problem] = []
    for path, text in _texts(values):
        if _LONE.search(path + text):
            shown = _LONE.sub("?", path)
            message = t("{path}: the text is not valid Unicode (half of a character).", path=shown)
            fix = t("Write it again, or rename a file whose name is not UTF-8.")
            found.append(Problem(shown, message, fix, where(path)))
    return found


def unknown(path: str, values: Mapping[str, Any] | None = None, place: str = "") -> Problem:
    """Explain a name that is not a setting: a near miss, another variant's, another tool's.

    Args:
        path: What was written.
        values: The request's values, which determine each ``type``.
        place: Where it was written.
    """
    path = path[:120]
    parts = path.split(".")
    others = settings.by_path().get(path)
    if others and others[0].variant:
        tags = " or ".join(str(setting.variant) for setting in others)
        section = others[0].section
        current = (values or {}).get(section) or {}
        return Problem(
            path,
            t(
                "{path}: only {section}.type={tags} has this setting; "
                "this run uses {section}.type={tag}.",
                path=path,
                section=section,
                tags=tags,
                tag=current.get("type") if isinstance(current, Mapping) else current,
            ),
            t(
                "Choose {section}.type={tags}, or remove {path}.",
                section=section,
                tags=tags,
                path=path,
            ),
            place,
        )
    message = t("{path}: no such setting.", path=path)
    near = _near(path)
    if path in Config.model_fields:
        first = next(name for name in settings.by_path() if name.startswith(f"{path}."))
        fix = t(
            "Set one of them, such as {name}: tunery config help {path}",
            name=first,
            path=quoted(path),
        )
        if near and near.partition(".")[0] != path:
            fix = t("Did you mean {name}?", name=near)
        return Problem(path, t("{path}: this is a group of settings.", path=path), fix, place)
    if parts[-1] in FOREIGN:
        return Problem(path, message, FOREIGN[parts[-1]](), place)
    if not near and _SECRET_NAME.search(parts[-1]):
        fix = t(
            "Secrets belong in environment variables (such as HF_TOKEN), never in "
            "settings: they would be saved in the run folder."
        )
        return Problem(path, message, fix, place)
    fix = t("Did you mean {name}?", name=near) if near else t("All settings: tunery config help")
    return Problem(path, message, fix, place)


def shown(value: Any) -> str:
    """Format a value that was found, shortened and with secrets masked."""
    if isinstance(value, str) and _is_secret(value):
        return t("a secret (not shown)")
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _explain_all(error: ValidationError, values: Mapping[str, Any], where: Where) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[str] = set()
    for found in error.errors(include_url=False):
        location = _path(found["loc"])
        setting = settings.find(location)
        if found["type"] == "extra_forbidden":
            problems.append(unknown(location, values, where(location)))
            continue
        whole = setting is not None and _is_said_once(setting)
        path = setting.path if setting is not None else location
        if path in seen:
            continue
        seen.add(path)
        if setting is not None and whole and found["type"] != "not_a_switch":
            value = settings.value_at(values, path)
            problems.append(_mismatch(setting, path, value, where(location) or where(path)))
        else:
            problems.append(_explain(found, location, setting, where))
    return problems


def _is_said_once(setting: settings.Setting) -> bool:
    """Whether pydantic reports its parts one by one: a union, a fixed-length list of numbers."""
    return len(annotations.alternatives(setting.annotation)) > 1 or setting.takes(tuple)


def _mismatch(setting: settings.Setting, path: str, value: Any, place: str) -> Problem:
    expected = _expected(setting, path)
    fix = ""
    if setting.choices and isinstance(value, str):
        near = difflib.get_close_matches(value, setting.choices, n=1, cutoff=0.5)
        fix = t("Did you mean {name}?", name=near[0]) if near else ""
        fix = FOREIGN_VALUES.get((path, value.lower()), lambda: fix)()
    got = t("got {value}", value=shown(value))
    message = t("{path} must be {expected}, {got}.", path=path, expected=expected, got=got)
    return Problem(path, message, fix, place)


def _explain(
    found: Mapping[str, Any], location: str, setting: settings.Setting | None, where: Where
) -> Problem:
    kind, context, value = found["type"], found.get("ctx", {}), found["input"]
    path = location
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        setting = settings.find(f"{location}.type")
        path = f"{location}.type"
        value = value.get("type") if isinstance(value, Mapping) else value
    place = where(path) or where(location)
    got = t("got {value}", value=shown(value))
    limits = {
        "greater_than_equal": t("at least {limit}", limit=_limit(context, "ge")),
        "greater_than": t("more than {limit}", limit=_limit(context, "gt")),
        "less_than_equal": t("at most {limit}", limit=_limit(context, "le")),
        "less_than": t("less than {limit}", limit=_limit(context, "lt")),
        "finite_number": t("a finite number"),
    }
    if kind in limits:
        expected = limits[kind]
    elif setting is not None:
        return _mismatch(setting, path, value, place)
    else:
        expected = t("a group of settings ({name}: value)", name=path.rpartition(".")[2])
    message = t("{path} must be {expected}, {got}.", path=path, expected=expected, got=got)
    return Problem(path, message, where=place)


def _limit(context: Mapping[str, Any], name: str) -> str:
    limit = context.get(name)
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


def _expected(setting: settings.Setting, path: str) -> str:
    if path != setting.path:  # one item of a list or dictionary
        return setting.item_type
    words = setting.type
    if setting.choices and len(annotations.alternatives(setting.annotation)) == 1:
        words = t("one of {choices}", choices=", ".join(setting.choices))
    return t("{line} ({more})", line=words, more=setting.bounds) if setting.bounds else words


def _path(location: tuple[int | str, ...]) -> str:
    """Remove the variant's tag and the names of union members from pydantic's location."""
    parts: list[str] = []
    for index, part in enumerate(location):
        if index == 1 and parts[0] in settings.tagged():
            if part in settings.tagged()[parts[0]]:
                continue
        elif parts and settings.find(".".join([*parts, str(part)])) is None:
            here = ".".join(parts)
            owner = settings.find(here)
            if owner is not None and not owner.opens and not isinstance(part, int):
                continue
        if part == "[key]":
            continue
        parts.append(str(part))
    return ".".join(parts)


def _near(path: str) -> str:
    known = list(settings.by_path())
    last = path.rpartition(".")[2]
    exact = [name for name in known if name.rpartition(".")[2] == last]
    if exact:
        return difflib.get_close_matches(path, exact, n=1, cutoff=0.0)[0]
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.75)
    if near:
        return near[0]
    names = {
        name.rpartition(".")[2]: name for name in reversed(known) if not name.endswith(".type")
    }
    sections = {name: name for name in Config.model_fields}
    close = difflib.get_close_matches(last, [*names, *sections], n=1, cutoff=0.75)
    if not close:
        return ""
    kind = f"{close[0]}.type"  # for a section that is selected by its type, the setting is meant
    return kind if kind in known else {**names, **sections}[close[0]]


def _texts(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _texts(each, f"{path}.{index}")


def _is_secret(text: str) -> bool:
    return _SECRET_VALUE.search(text) is not None


def _secret_value(path: str, where: Where) -> Problem:
    message = t(
        "{path}: the value looks like a secret; it would be saved in the run folder.", path=path
    )
    fix = t("Put it in an environment variable (such as HF_TOKEN) and remove it from the settings.")
    return Problem(path, message, fix, where(path))
