"""Preferences of this TUNERY_HOME: small JSON values by name."""

from __future__ import annotations

import json
from typing import Any

from tunery.state.database import database


def get(key: str, default: Any = None) -> Any:
    """The value stored under ``key``, or ``default``."""
    rows = database().read("SELECT value FROM prefs WHERE key = ?", (key,))
    return json.loads(rows[0]["value"]) if rows else default


def set(key: str, value: Any) -> None:
    """Store a JSON value; None removes the key."""
    with database().write() as db:
        if value is None:
            db.execute("DELETE FROM prefs WHERE key = ?", (key,))
        else:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            db.execute("INSERT OR REPLACE INTO prefs VALUES (?, ?)", (key, text))


def all() -> dict[str, Any]:
    """All stored preferences."""
    return {r["key"]: json.loads(r["value"]) for r in database().read("SELECT * FROM prefs")}
