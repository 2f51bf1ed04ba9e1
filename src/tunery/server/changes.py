"""A list of things as a topic: who is behind gets what changed, who is new gets all."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from typing import Any

GONE = 200
"""Removed things that are remembered; who is further behind gets the whole list."""


class Changes:
    """Compares each new state of a list with the last one.

    A cursor is ``LIFE:NUMBER``: the number of changes seen in this life of the server. A cursor of
    another life, or one that is too old, gives the whole list.
    """

    def __init__(self) -> None:
        self._life = secrets.token_hex(3)
        self._lock = threading.Lock()
        self._count = 0
        self._items: dict[str, tuple[int, dict[str, Any]]] = {}
        self._gone: dict[str, int] = {}
        self._forgotten = 0

    def update(self, items: Mapping[str, dict[str, Any]]) -> None:
        """Take the list as it is now, by id."""
        with self._lock:
            for key, item in items.items():
                known = self._items.get(key)
                if known is None or known[1] != item:
                    self._count += 1
                    self._items[key] = (self._count, item)
                    self._gone.pop(key, None)
            for key in self._items.keys() - items.keys():
                self._count += 1
                del self._items[key]
                self._gone[key] = self._count
            while len(self._gone) > GONE:
                oldest = min(self._gone, key=self._gone.__getitem__)
                self._forgotten = max(self._forgotten, self._gone.pop(oldest))

    def read(self, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """What a reader at ``cursor`` has not seen.

        Returns:
            One message or none: ``{"kind": "snapshot", "items"}``, or
            ``{"kind": "changed", "items", "removed"}``; and the new cursor.
        """
        with self._lock:
            now = f"{self._life}:{self._count}"
            life, _, text = cursor.partition(":")
            seen = int(text) if life == self._life and text.isdecimal() else -1
            if not self._forgotten <= seen <= self._count:
                every = [item for _, item in self._items.values()]
                return [{"kind": "snapshot", "items": every}], now
            items = [item for count, item in self._items.values() if count > seen]
            removed = [key for key, count in self._gone.items() if count > seen]
            message = {"kind": "changed", "items": items, "removed": removed}
            return ([message] if items or removed else []), now
