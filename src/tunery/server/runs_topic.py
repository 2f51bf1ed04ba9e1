"""The topic ``runs``: the state of every run, of this window or another.

``services.run_list`` looks at the folders; what did not change is not read again, so a thousand
finished runs cost their stats.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from tunery.server.changes import Changes
from tunery.services.runs import Roll, roll

LOOK_SECONDS = 0.5


class RunsTopic:
    """Messages as in ``server.changes``; an item is ``RunStatus.as_dict()``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lookers: dict[int, _Looker] = {}

    def read(self, argument: str, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Give the runs that changed."""
        runs = roll()
        with self._lock:
            looker = self._lookers.setdefault(id(runs), _Looker(runs))
            looker.look()
        return looker.changes.read(cursor)


class _Looker:
    def __init__(self, runs: Roll) -> None:
        self.changes = Changes()
        self._runs = runs
        self._looked = 0.0

    def look(self) -> None:
        now = time.monotonic()
        if self._looked and now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        self.changes.update({state.name: state.as_dict() for state in self._runs.look()})
