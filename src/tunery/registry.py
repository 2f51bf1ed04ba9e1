"""A registry that maps names to kinds (methods, adapters, formats, exporters).

An entry may be given as ``"module:attribute"`` and is then imported on first use, so that listing
the kinds costs nothing and the light side can name heavy ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Generic, TypeVar, cast

from tunery.errors import unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of named entries of one kind.

    Args:
        kind: The kind of entry, in words, for error messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T | str] = {}

    def add(self, name: str, entry: T | str) -> None:
        """Register an object, or its location as ``module:attribute``.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """Return the object, importing it on first use.

        Raises:
            UnknownName: No entry has this name; the message suggests the closest one.
        """
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = cast(T, getattr(importlib.import_module(module), attribute))
            self._entries[name] = entry
        return entry

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
