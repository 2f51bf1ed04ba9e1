"""The topic ``runs``: the states of runs, including those started in a terminal.

New readers receive the active and the newest runs; after that, every run that changes. The whole
table is ``GET /api/v1/runs``, one page at a time: ten thousand runs would be 5 MB for each page
that is opened.

``services.runs`` reads the folders; what did not change is not read again, so a thousand finished
runs only cost their stat calls.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from tunery.i18n import voice
from tunery.runs.status import LIVE, RunStatus
from tunery.server.changes import Changes
from tunery.services.runs import RunList, run_list

LOOK_SECONDS = 0.5
NEWEST = 50


class RunsTopic:
    """Messages as in ``server.changes``; an item is ``RunStatus.as_dict()``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lookers: dict[tuple[int, tuple[str, str]], _Looker] = {}

    def read(self, argument: str, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Return the runs that changed."""
        runs = run_list()
        with self._lock:
            looker = self._lookers.setdefault((id(runs), voice()), _Looker(runs))
            looker.look()
        return looker.changes.read(cursor)


class _Looker:
    def __init__(self, runs: RunList) -> None:
        self.changes = Changes(most=2 * NEWEST, shown=_shown)
        self._seen: list[RunStatus] = []
        self._runs = runs
        self._looked = 0.0

    def look(self) -> None:
        now = time.monotonic()
        if self._looked and now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        states = self._runs.look()
        if states is self._seen:
            return
        known = {state.name: state for state in self._seen}
        fresh = {s.name: s.as_dict() for s in states if known.get(s.name) is not s}
        self.changes.change(fresh, known.keys() - {state.name for state in states})
        self._seen = states


def _shown(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The active runs, and the newest."""
    runs = sorted(runs, key=lambda run: (run["started"] or 0.0, run["name"]), reverse=True)
    return [run for place, run in enumerate(runs) if place < NEWEST or run["status"] in LIVE]
