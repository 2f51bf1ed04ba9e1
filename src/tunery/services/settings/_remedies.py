"""What would mend it, as buttons: settings to change, blanks to fill, a model to fetch.

An error's sentence already names the setting and the value ("Set train.batch_size to 1",
"use data.on_bad_rows=quarantine"); here it is read back, so that no error is explained twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tunery.config import load, settings
from tunery.errors import ConfigError, TuneryError
from tunery.i18n import t
from tunery.services.settings import _forms

_NAMED = re.compile(r"(?:--)?([a-z_]+(?:\.[a-z_]+)+)(?:=| )\s*([A-Za-z0-9_.+-]*[A-Za-z0-9_+-])")
MOST = 3


def with_remedies(error: TuneryError) -> TuneryError:
    """Put the buttons that its sentences speak of into an error's fields."""
    found = of(error)
    if found and "remedies" not in error.fields:
        error.fields["remedies"] = found
    return error


def of(error: TuneryError) -> list[dict[str, Any]]:
    """List what would mend an error."""
    if error.fields.get("remedy") == "pull":
        name = str(error.fields.get("target") or error.fields.get("model") or "")
        return [{"action": "download", "label": t("Download {model}", model=name), "model": name}]
    if error.code == "W706":
        return [{"action": "fill", "label": t("Fill in")}]
    found: list[dict[str, Any]] = []
    for path, value in _NAMED.findall(error.fix):
        change = {path: value}
        if settings.find(path) is not None and _is_accepted(path, value):
            found.append(setting(change))
    return found[:MOST]


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
    if value in ("null", "to", "is", "or"):
        return False
    try:
        load.from_tokens([f"--{path}={value}"])
    except ConfigError as error:
        problems: list[dict[str, Any]] = error.fields.get("problems") or []
        return all(problem["setting"] != path for problem in problems)
    return True
