"""Named points at which tests make things go wrong; in production each is one ``is None`` check.

A test sets ``hook`` in its own process (after a fork) and gets every point with its values: it may
kill the process, raise an error of the system, or write NaN into a tensor. Nothing of the product
sets it, and no environment variable or setting does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

hook: Callable[[str, dict[str, Any]], None] | None = None


def point(where: str, /, **values: Any) -> None:
    """Pass a point; ``values`` are live objects that a test may change."""
    if hook is not None:
        hook(where, values)
