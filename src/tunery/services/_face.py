"""The face of a package: names of its private modules, each imported when it is first asked for.

A face declares its names once, as imports under ``if TYPE_CHECKING``, for readers and checkers;
at run time they are read from there, so that a command pays only for the modules it uses.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def names_of(file: str, package: str) -> Callable[[str], Any]:
    """Make the ``__getattr__`` (PEP 562) of a face.

    Args:
        file: The ``__file__`` of the face.
        package: Its ``__name__``.
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
