"""Remedies for an error, as buttons: settings to change, placeholders to fill, a model to download.

An error's sentence already names the setting and the value ("Set train.batch_size to 1", "use
data.on_bad_rows=quarantine"). They are extracted from the sentence as it is written in the code and
from the values filled into it, so the language it is shown in does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tunery.config import load, settings
from tunery.errors import ConfigError, TuneryError
from tunery.i18n import Phrase, english, phrase_of, t
from tunery.services.settings import _forms, _wording

MOST = 3
_STAND_IN = re.compile(r"[A-Z]{3,}|\.\.\.")
"""What a sentence writes in place of a word that the user supplies: THEIRS, ROLE, "..."."""


def with_remedies(error: TuneryError) -> TuneryError:
    """Add the buttons that an error's sentences mention to its fields."""
    found = of(error)
    if found and "remedies" not in error.fields:
        error.fields["remedies"] = found
    return error


def of(error: TuneryError) -> list[dict[str, Any]]:
    """List the remedies for an error."""
    if error.fields.get("remedy") == "pull":
        name = str(error.fields.get("target") or error.fields.get("model") or "")
        return [{"action": "download", "label": t("Download {model}", model=name), "model": name}]
    if error.code == "W706":
        return [{"action": "fill", "label": t("Fill in")}]
    return of_sentence(error.fix)


def of_sentence(fix: str) -> list[dict[str, Any]]:
    """List the changes of settings that a sentence mentions."""
    found: list[dict[str, Any]] = []
    for path, value in _changes(phrase_of(fix) or Phrase(fix)):
        change = setting({path: value})
        if _STAND_IN.fullmatch(value):
            continue
        if change not in found and _is_accepted(path, value):
            found.append(change)
    return found[:MOST]


def changes_in(fix: str | Phrase) -> list[tuple[str, str]]:
    """The settings that a sentence mentions with a value, as (path, value)."""
    return list(_changes(phrase_of(fix) or Phrase(str(fix))))


def paths_in(fix: str | Phrase) -> list[str]:
    """The paths of all settings that a sentence mentions, with or without a value."""
    phrase = phrase_of(fix) or Phrase(str(fix))
    inner = [each for value in phrase.values.values() if (each := phrase_of(value)) is not None]
    here = [each.path for each in _wording.named(phrase.template)]
    return here + [path for each in inner for path in paths_in(each)]


def _changes(phrase: Phrase) -> Iterator[tuple[str, str]]:
    """The settings with values that a sentence mentions, including those in nested phrases."""
    values = {name: english(value) for name, value in phrase.values.items()}
    for each in _wording.named(phrase.template):
        if each.value is not None:
            filled = (text.format(**values) if values else text for text in (each.path, each.value))
            path, value = filled
            yield path, value.strip('"')
    for value in phrase.values.values():
        if (inner := phrase_of(value)) is not None:
            yield from _changes(inner)


def setting(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Make the button that changes settings."""
    named = [
        t("{label} = {value}", label=_label(path), value=settings.show(value))
        for path, value in changes.items()
    ]
    return {"action": "set", "label": ", ".join(named), "set": dict(changes)}


def _label(path: str) -> str:
    found = settings.by_path().get(path)
    return _forms.label_of(found[0].key, path) if found else path


def _is_accepted(path: str, value: str) -> bool:
    try:
        load.from_tokens([f"--{path}={value}"])
    except ConfigError as error:
        problems: list[dict[str, Any]] = error.fields.get("problems") or []
        return all(problem["setting"] != path for problem in problems)
    return True
