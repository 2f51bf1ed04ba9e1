"""Lazy package exports: the names of a package's private modules, each imported on first access.

A package declares its names once, as imports under ``if TYPE_CHECKING``, for readers and type
checkers; at run time they are read from there, so a command pays only for the modules it uses.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def names_of(file: str, package: str) -> Callable[[str], Any]:
    """Make the ``__getattr__`` (PEP 562) of a package.

    Args:
        file: The package's ``__file__``.
        package: The package's ``__name__``.
    """
    places: dict[str, tuple[str, str]] = {}

    def find(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        if not places:
            places.update(_places(Path(file)))
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        module, attribute = places[name]
        return getattr(importlib.import_module(module), attribute)

    return find


def _places(file: Path) -> dict[str, tuple[str, str]]:
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for top in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(top, ast.If)
        for node in top.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
