"""Named points at which tests inject faults; in production each is a single ``is None`` check.

A test sets ``hook`` in its own process (after a fork) and is called at every point with its values:
it may kill the process, raise a system error, or write NaN into a tensor. Nothing in the product
sets it, and no environment variable or setting does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

hook: Callable[[str, dict[str, Any]], None] | None = None


def point(where: str, /, **values: Any) -> None:
    """Reach a fault point; ``values`` are live objects that a test may change."""
    if hook is not None:
        hook(where, values)
