"""A filled-in form: the browser's fields, translated to command-line arguments.

A field's value is what the user typed (text), a switch (bool), a list of names or a table of
names. It becomes ``--section.field=value`` and goes through the one loader, so the page, the
command it shows and a terminal can never disagree. Invalid values are kept as typed.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunery.config import annotations, flags, layers, load, rules, settings
from tunery.config.config import Config
from tunery.config.frozen import to_yaml
from tunery.errors import ConfigError, TuneryError, UnknownName
from tunery.i18n import t
from tunery.services import access
from tunery.services.settings import _forms, _remedies
from tunery.types import is_list, is_mapping, is_object

Fields = Mapping[str, Any]

_PLAIN_ITEM = re.compile(r"[^\s,\[\]{}\"'#]+")
_PLAIN_NAME = re.compile(r"\w+")
_GROUPED = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a field shows: its value, and its origin: ``default``, ``preset`` or ``set``."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """The message under a field."""

    message: str
    fix: str = ""
    remedies: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Filled:
    """A form and the result of reading it.

    Args:
        words: The settings as the words of a command line.
        shown: What each field shows, by path.
        errors: What is wrong, by field path; the empty path holds what belongs to no field.
        loaded: The settings; None while they are invalid.
        warnings: What is allowed but not recommended.
    """

    words: list[str]
    shown: dict[str, Shown]
    errors: dict[str, Wrong] = field(default_factory=dict[str, Wrong])
    loaded: load.Loaded | None = None
    warnings: tuple[str, ...] = ()

    @property
    def config(self) -> Config | None:
        """The settings; None while they are invalid."""
        return self.loaded.config if self.loaded else None


def fill_form(preset: str | None, fields: Fields) -> Filled:
    """Read a form.

    Args:
        preset: The preset to start from.
        fields: Values by path of the settings that were set; settings of a ``type`` that is not
            selected are ignored, and an unknown name is an error.
    """
    errors: dict[str, Wrong] = {}
    if preset is not None and preset not in layers.preset_names():
        errors[""] = Wrong(t("The preset {name!r} no longer exists.", name=preset))
        preset = None
    given = active(preset, fields)
    words: list[str] = []
    for path, value in given.items():
        try:
            words += words_of(path, value)
        except ConfigError as error:
            errors[path] = Wrong(error.message, error.fix)
    for path, error in access.config(given).items():
        errors.setdefault(path, Wrong(error.message, error.fix, _remedies_of(error)))
    words = [*([f"--preset={preset}"] if preset else []), *words]
    shown = _shown(preset, words, given)
    try:
        loaded = load.from_tokens(words)
        rules.check(loaded.config)
    except (ConfigError, UnknownName) as error:
        for path, wrong in explained(error).items():
            errors.setdefault(path, wrong)
        return Filled(words, shown, errors)
    return Filled(words, shown, errors, None if errors else loaded, loaded.warnings)


def _remedies_of(error: TuneryError) -> tuple[Mapping[str, Any], ...]:
    return tuple(error.fields.get("remedies", ()))


def active(preset: str | None, fields: Fields) -> dict[str, Any]:
    """Keep the fields that belong to the selected types and the open sections."""
    merged = layers.Merged()
    if preset:
        merged.add(layers.preset_layer(preset))
    merged.fill_types()
    types = {
        section: fields.get(f"{section}.type") or merged.values[section]["type"]
        for section in settings.tagged()
    }
    on = {
        path: fields.get(path, settings.value_at(merged.values, path) is not None)
        for path in settings.switches()
    }
    found: dict[str, Any] = {}
    for path, value in fields.items():
        known = settings.by_path().get(path, ())
        fits = [s for s in known if s.variant in (None, types.get(s.section))]
        if not known or any(on.get(s.switch, True) for s in fits):
            found[path] = value
    return found


def words_of(path: str, value: Any) -> list[str]:
    """Write one field as command-line arguments.

    Raises:
        ConfigError: The text of a table has a line that is not ``name: value``.
    """
    found = settings.by_path().get(path)
    if not found:
        return [f"--{path}={value}"]
    setting = found[0]
    if isinstance(value, bool):
        return [f"--{path}={'true' if value else 'false'}"]
    if setting.is_dict:
        given: Mapping[str, Any] = value if is_mapping(value) else _table(str(value))
        pairs = {str(name): str(each) for name, each in given.items() if str(each).strip()}
        if pairs and all(map(_PLAIN_NAME.fullmatch, pairs)):
            return [f"--{path}.{name}={each}" for name, each in pairs.items()]
        return [f"--{path}={json.dumps(pairs, ensure_ascii=False)}"]
    if setting.is_list and not setting.takes(tuple):
        items = _items(value, setting)
        if items and not setting.whole_text and all(map(_PLAIN_ITEM.fullmatch, items)):
            return [f"--{path}={','.join(items)}"]
        return [f"--{path}={json.dumps(items, ensure_ascii=False)}"]
    text = ", ".join(map(str, value)) if is_list(value) else str(value).strip()
    if text == "" and annotations.optional(setting.annotation):
        return [f"--{path}=null"]
    if setting.takes(int, float, tuple):
        text = unicodedata.normalize("NFKC", text)
        text = text.replace(",", "") if _GROUPED.fullmatch(text) else text
    return [f"--{path}={text}"]


def command(words: list[str]) -> str:
    """Write the command that starts the same run in a terminal."""
    parts = ["tunery", "train"]
    for word in words:
        name, _, value = word.partition("=")
        joined = not value or value.startswith("-")
        parts += [shlex.quote(word)] if joined else [name, shlex.quote(value)]
    return " ".join(parts)


def yaml(filled: Filled) -> str:
    """Write the settings that were set as a settings file; defaults are left out."""
    values = flags.parse([w for w in filled.words if not w.startswith("--preset=")]).values
    if filled.config is not None:
        typed = filled.config.model_dump(mode="json")
        values = _retyped(values, typed)
    preset = next((w.partition("=")[2] for w in filled.words if w.startswith("--preset=")), None)
    head: dict[str, Any] = {"preset": preset} if preset else {}
    return to_yaml({**head, **values}) if head or values else ""


def fields_of(text: str, name: str = "YAML") -> tuple[str | None, dict[str, Any]]:
    """Turn a settings file into a preset and fields.

    Raises:
        ConfigError: It is not valid; the error names the lines.
    """
    loaded = load.from_text(text, name)
    values = loaded.config.model_dump(mode="json")
    found = {
        setting.path: _forms.shown(setting, setting.value_in(values))
        for setting in settings.walk()
        if loaded.origins.get(setting.path, "").startswith(f"{name} ") and setting.is_in(values)
    }
    found.pop("preset", None)
    return loaded.config.preset, found


def fields_of_values(values: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Turn settings from a REST client into a preset and fields.

    Raises:
        ConfigError: They are not valid.
    """
    return fields_of(to_yaml(values), "config") if values else (None, {})


def fields_of_config(config: Config) -> dict[str, Any]:
    """Return the fields in which a config differs from the defaults."""
    values = config.model_dump(mode="json")
    return {
        setting.path: _forms.shown(setting, setting.value_in(values))
        for setting in settings.walk()
        if setting.path != "preset"
        and setting.is_in(values)
        and setting.value_in(values) != setting.default
    }


def explained(error: ConfigError | UnknownName) -> dict[str, Wrong]:
    """Group the problems of a request by the field they belong to."""
    problems = error.fields.get("problems")
    if not problems:
        return {"": Wrong(error.message, error.fix)}
    found: dict[str, Wrong] = {}
    for problem in problems:
        owner = settings.find(problem["setting"])
        path = owner.path if owner is not None else ""
        found.setdefault(
            path,
            Wrong(
                _short(problem["message"], problem["setting"]),
                problem["fix"],
                tuple(_remedies.of_sentence(problem["fix"])),
            ),
        )
    return found


def _shown(preset: str | None, words: list[str], given: Fields) -> dict[str, Shown]:
    merged = layers.Merged()
    if preset:
        merged.add(layers.preset_layer(preset))
    merged.add(layers.Layer("", flags.parse(words).values))
    merged.fill_types()
    found: dict[str, Shown] = {}
    for setting in settings.walk():
        if not setting.is_in(merged.values) or setting.path == "preset":
            continue
        origin = merged.origin(setting.path)
        if setting.path in given:
            found[setting.path] = Shown(_as_shown(setting, given[setting.path]), "set")
        elif origin == layers.DEFAULT:
            value = setting.value_in(merged.values)
            kept = setting.default if value is None else value
            found[setting.path] = Shown(_forms.shown(setting, kept), "default")
        else:
            value = setting.value_in(merged.values)
            origin = "preset" if origin.startswith("preset ") else "set"
            found[setting.path] = Shown(_forms.shown(setting, value), origin)
    return found


def _as_shown(setting: settings.Setting, value: Any) -> Any:
    return value if isinstance(value, str | bool) else _forms.shown(setting, value)


def names(text: str) -> list[str]:
    """The names in the text of a list, separated by commas or lines."""
    parts = (part for line in text.splitlines() for part in re.split(r"[,，、]", line))
    return [part.strip() for part in parts if part.strip()]


def table(value: Any) -> dict[str, str]:
    """The names and values of a table field; unreadable lines are left out."""
    if is_mapping(value):
        return {str(name): str(each) for name, each in value.items()}
    lines = (line.replace("：", ":", 1).partition(":") for line in str(value).splitlines())
    return {name.strip(): each.strip() for name, colon, each in lines if colon}


def _items(value: Any, setting: settings.Setting) -> list[str]:
    if is_list(value):
        return [str(each) for each in value]
    if not setting.whole_text:
        return names(str(value))
    return [line.strip() for line in str(value).splitlines() if line.strip()]


def _table(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        name, colon, value = line.replace("：", ":", 1).partition(":")
        if not colon or not name.strip():
            raise ConfigError(
                t("{line!r}: expected a name, a colon and a value.", line=line.strip()[:60]),
                fix=t("One per line, such as name: Tuna"),
            )
        found[name.strip()] = value.strip()
    return found


def _retyped(given: Mapping[str, Any], typed: Any) -> dict[str, Any]:
    """Convert each given value to the type that the config has it in."""
    return {
        name: _retyped(value, typed[name])
        if is_object(value) and is_object(typed.get(name))
        else typed.get(name, value)
        for name, value in given.items()
    }


def _short(message: str, path: str) -> str:
    """Remove the setting's name from the start of a message: its field is shown right above."""
    for head in (f"--{path}: ", f"{path}: ", f"{path} "):
        if message.startswith(head):
            rest = message.removeprefix(head).removeprefix(head)
            if head == f"{path} " and not rest.startswith("must "):
                return message  # "data.train is empty" is no sentence without its subject
            return rest[:1].upper() + rest[1:]
    return message
