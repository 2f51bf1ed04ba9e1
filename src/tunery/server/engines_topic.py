"""The topic ``engines``: loaded models, loading progress, and the number of active answers."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from tunery.engines import process
from tunery.engines.base import EngineStatus
from tunery.server.changes import Changes

LOOK_SECONDS = 1.0


class EnginesTopic:
    """A snapshot of the engines, then changes; an engine's id is the folder of its base model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked = 0.0
        self._changes = Changes()

    def read(self, argument: str, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Return what the reader has not seen."""
        with self._lock:
            now = time.monotonic()
            if not self._looked or now - self._looked >= LOOK_SECONDS:
                self._looked = now
                self._changes.update(asyncio.run(_look()))
        return self._changes.read(cursor)


async def _look() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for folder, engine in (await process.running()).items():
        found[str(folder)] = _shown(str(folder), await engine.status())
    return found


def _shown(folder: str, status: EngineStatus) -> dict[str, Any]:
    """What a page shows; memory is rounded to 16 MiB, so that not every allocation is an update."""
    return {
        "id": folder,
        "base": status.base,
        "state": status.state,
        "text": status.text,
        "device": status.device,
        "dtype": status.dtype,
        "context_length": status.context_length,
        "memory_bytes": status.memory_bytes >> 24 << 24,
        "num_adapters": len(status.adapters),
        "num_running": status.num_running,
        "num_waiting": status.num_waiting,
    }
