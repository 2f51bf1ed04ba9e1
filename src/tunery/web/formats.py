"""Formats for numbers, sizes, times and dates, in the language of the request."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from tunery import env
from tunery.i18n import joined, t


def number(value: float | None, digits: int | None = None) -> str:
    """Format a number: ``1,930``, ``0.693``, ``1e-4``; a dash for None.

    Args:
        value: The number.
        digits: Digits after the decimal point; by default chosen by the size of the number.
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    if digits is not None:
        return f"{value:,.{digits}f}"
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}"
    if abs(value) < 1e-3:
        return f"{value:.2e}".replace("e-0", "e-").replace(".00e", "e")
    return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.1f}"


def percent(share: float | None) -> str:
    """Format a fraction as a percentage: ``57 %``; a dash for None."""
    return "–" if share is None else env.percent(share)


def duration(seconds: float | None) -> str:
    """Format a duration: ``45 s``, ``3 min 28 s``, ``2 h 5 min``; a dash for None."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return t("{n} s", n=whole)
    if whole < 3600:
        return t("{m} min {s} s", m=whole // 60, s=whole % 60)
    if whole < 86400:
        return t("{h} h {m} min", h=whole // 3600, m=whole % 3600 // 60)
    return t("{d} d {h} h", d=whole // 86400, h=whole % 86400 // 3600)


def short_name(name: str | None) -> str:
    """The last part of a name that is a path; other names, such as ``owner/name``, whole."""
    text = name or ""
    return text.rstrip("/").rpartition("/")[2] if text.startswith(("/", "~", ".")) else text


def short_names(names: Sequence[str]) -> str:
    """Names with their paths shortened, separated by commas."""
    return joined(*map(short_name, names), between=", ")


def moment(stamp: float | None) -> str:
    """Format a local time on this machine: ``2026-11-23 22:06``; a dash for None."""
    return "–" if stamp is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(stamp))
