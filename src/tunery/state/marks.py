"""One-time actions of the user: ``chatted``, ``compared``, ``hidden``."""

from __future__ import annotations

import time

from tunery.state.database import database


def mark(what: str) -> None:
    """Record that an action happened; only the first time is stored."""
    if what in marked():
        return
    with database().write() as db:
        db.execute("INSERT OR IGNORE INTO marks VALUES (?, ?)", (what, time.time()))


def unmark(what: str) -> None:
    """Remove a mark."""
    with database().write() as db:
        db.execute("DELETE FROM marks WHERE what = ?", (what,))


def marked() -> frozenset[str]:
    """All actions that have happened."""
    return frozenset(row["what"] for row in database().read("SELECT what FROM marks"))
