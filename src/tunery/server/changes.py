"""A list of items as a topic: known readers receive what changed, new ones receive everything."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

GONE = 200
"""How many removals are remembered; readers further behind receive the whole list."""


class Changes:
    """Compares each new state of a list with the previous one.

    A cursor is ``LIFE:NUMBER``: the number of changes in this lifetime of the server. A cursor of
    another lifetime, or one that is too old, returns the whole list.

    Args:
        most: Maximum number of items per message; readers with more to receive get the list anew.
        shown: Part of the list to report; default: all of it.
    """

    def __init__(
        self,
        *,
        most: int | None = None,
        shown: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
    ) -> None:
        self._most = most
        self._shown = shown
        self._life = secrets.token_hex(3)
        self._lock = threading.Lock()
        self._count = 0
        self._items: dict[str, tuple[int, dict[str, Any]]] = {}
        self._gone: dict[str, int] = {}
        self._forgotten = 0

    def update(self, items: Mapping[str, dict[str, Any]]) -> None:
        """Set the current list, by id."""
        self.change(items, self._items.keys() - items.keys())

    def change(self, items: Mapping[str, dict[str, Any]], removed: Iterable[str]) -> None:
        """Apply items that may have changed, and those removed; all others stay the same."""
        with self._lock:
            for key, item in items.items():
                known = self._items.get(key)
                if known is None or known[1] != item:
                    self._count += 1
                    self._items[key] = (self._count, item)
                    self._gone.pop(key, None)
            for key in self._items.keys() & set(removed):
                self._count += 1
                del self._items[key]
                self._gone[key] = self._count
            while len(self._gone) > GONE:
                oldest = min(self._gone, key=self._gone.__getitem__)
                self._forgotten = max(self._forgotten, self._gone.pop(oldest))

    def read(self, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Return what a reader at ``cursor`` has not seen.

        Returns:
            At most one message: ``{"kind": "snapshot", "items"}`` or
            ``{"kind": "changed", "items", "removed"}``; and the new cursor.
        """
        with self._lock:
            now = f"{self._life}:{self._count}"
            life, _, text = cursor.partition(":")
            seen = int(text) if life == self._life and text.isdecimal() else -1
            if seen == self._count:
                return [], now
            if not self._forgotten <= seen <= self._count:
                return [self._whole()], now
            items = [item for count, item in self._items.values() if count > seen]
            if self._most is not None and len(items) > self._most:
                return [self._whole()], now
            removed = [key for key, count in self._gone.items() if count > seen]
            message = {"kind": "changed", "items": items, "removed": removed}
            return ([message] if items or removed else []), now

    def _whole(self) -> dict[str, Any]:
        every = [item for _, item in self._items.values()]
        return {"kind": "snapshot", "items": self._shown(every) if self._shown else every}
