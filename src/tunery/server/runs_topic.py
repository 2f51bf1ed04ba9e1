"""The topic ``runs``: the summary of every run, looked at once a second.

A run whose files did not change is not read again, so a thousand finished runs cost their stats.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from tunery import env
from tunery.runs import folder, status
from tunery.runs.status import RunStatus
from tunery.server.changes import Changes

LOOK_SECONDS = 1.0


class RunsTopic:
    """Messages as in ``server.changes``; an item is ``RunStatus.as_dict()``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._homes: dict[str, _Looker] = {}

    def read(self, argument: str, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Give the runs that changed."""
        home = str(env.runs_dir())
        with self._lock:
            looker = self._homes.setdefault(home, _Looker())
            looker.look()
        return looker.changes.read(cursor)


class _Looker:
    def __init__(self) -> None:
        self.changes = Changes()
        self._looked = 0.0
        self._known: dict[str, tuple[Any, RunStatus]] = {}

    def look(self) -> None:
        now = time.monotonic()
        if self._looked and now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        known: dict[str, tuple[Any, RunStatus]] = {}
        for name in folder.names():
            run = folder.RunFolder(env.runs_dir() / name)
            signature = _signature(run)
            before = self._known.get(name)
            if before is None or before[0] != signature or before[1].is_live:
                before = (signature, status.derive(run))
            known[name] = before
        self._known = known
        self.changes.update({name: run.as_dict() for name, (_, run) in known.items()})


def _signature(run: folder.RunFolder) -> tuple[Any, ...]:
    files = (run.events_file, run.worker_file, run.checkpoints_dir, run.path)
    return tuple(_stat(str(path)) for path in files)


def _stat(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 (a thousand runs, four files each)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
