"""The topic ``machine``: memory, disk and GPUs, read every two seconds."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

from tunery.types import is_object

LOOK_SECONDS = 2.0


class MachineTopic:
    """One message of kind ``machine`` whenever a figure has changed noticeably."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked = 0.0
        self._facts: dict[str, Any] = {}
        self._version = ""

    def read(self, argument: str, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Return the machine's figures if they differ from what the reader has."""
        with self._lock:
            now = time.monotonic()
            if not self._looked or now - self._looked >= LOOK_SECONDS:
                self._looked = now
                self._facts = _look()
                self._version = str(hash(json.dumps(_coarse(self._facts), sort_keys=True)))
            facts, version = self._facts, self._version
        return ([] if cursor == version else [{"kind": "machine", **facts}]), version


def _look() -> dict[str, Any]:
    from tunery.services import machine

    return machine.look().as_dict()


def _coarse(value: Any) -> Any:
    """Round bytes to 64 MiB, so that not every allocation is sent to the page."""
    if is_object(value):
        return {key: _coarse(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_coarse(item) for item in cast("Sequence[Any]", value)]
    return value >> 26 if isinstance(value, int) and value > 2**26 else value
