"""Preferences of the web pages that are stored per machine, not per browser."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter

from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.server.api.body import Body
from tunery.state import prefs

router = APIRouter(prefix="/api/v1/prefs", tags=["prefs"])

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SECRET = re.compile(r"token|secret|password|api_?key", re.IGNORECASE)
SIZE_CHARACTERS = 64 * 1024


class Value(Body):
    """The new value of a preference; null deletes it."""

    value: Any = None


@router.get("")
def listing() -> dict[str, Any]:
    """Get all preferences."""
    return prefs.all()


@router.put("/{key}")
def change(key: str, new: Value) -> dict[str, Any]:
    """Store a preference; refuses invalid names, names of secrets, and values that are too long."""
    if not _NAME.fullmatch(key) or _SECRET.search(key):
        raise ConfigError(
            t("{name!r} is not a valid preference name.", name=key[:80]),
            fix=t("Use lowercase letters, digits, dots and dashes; secrets are not stored here."),
            code="bad_name",
        )
    if len(repr(new.value)) > SIZE_CHARACTERS:
        raise ConfigError(t("The value is too long."), code="too_large")
    prefs.set(key, new.value)
    return {"key": key, "value": new.value}
