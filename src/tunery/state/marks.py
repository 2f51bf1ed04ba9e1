"""What a person has done once: ``chatted``, ``compared``, ``hidden``."""

from __future__ import annotations

import time

from tunery.state.database import database


def mark(what: str) -> None:
    """Remember that it happened; the first time counts."""
    if what in marked():
        return
    with database().write() as db:
        db.execute("INSERT OR IGNORE INTO marks VALUES (?, ?)", (what, time.time()))


def unmark(what: str) -> None:
    """Forget it."""
    with database().write() as db:
        db.execute("DELETE FROM marks WHERE what = ?", (what,))


def marked() -> frozenset[str]:
    """Everything that happened."""
    return frozenset(row["what"] for row in database().read("SELECT what FROM marks"))
