"""Locations on this machine: TUNERY_HOME and the folders in it.

This module owns the folder names and general file-system queries (free bytes, existing parent). It
reads the environment on each call, so tests may change it.
"""

from __future__ import annotations

import os
import shutil
import stat
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path


def home() -> Path:
    """Return TUNERY_HOME (default ``~/.tunery``); it may not exist yet."""
    return expanded(os.environ.get("TUNERY_HOME") or "~/.tunery").absolute()


def user_home() -> Path | None:
    """The user's home folder; None if HOME is unset and the system does not know the user."""
    found = Path(os.path.expanduser("~"))  # noqa: PTH111  (pathlib raises where there is none)
    return found if found.is_absolute() else None


def user_cache() -> Path:
    """The folder for files that can be downloaded again: XDG_CACHE_HOME, or ``~/.cache``."""
    named = os.environ.get("XDG_CACHE_HOME")
    return expanded(named) if named else (user_home() or home()) / ".cache"


def expanded(path: str | Path) -> Path:
    """A path with a leading ``~`` or ``~user`` replaced; unchanged if the user is unknown."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def models_dir() -> Path:
    """Folder of converted and downloaded models that the hub cache does not hold."""
    return home() / "models"


def datasets_dir() -> Path:
    """Folder of datasets added or copied by the user, and of the token cache."""
    return home() / "datasets"


def runs_dir() -> Path:
    """Folder of all runs; one subfolder per run."""
    return home() / "runs"


def jobs_dir() -> Path:
    """Folder of jobs other than runs (downloads, exports, checks); one subfolder per job."""
    return home() / "jobs"


def locks_dir() -> Path:
    """Folder of the device locks."""
    return home() / "locks"


def cache_dir() -> Path:
    """Folder of files that can be created again (tokens, compiled kernels)."""
    return home() / "cache"


def is_special(path: Path) -> bool:
    """Whether a path leads to a pipe, socket or device, where reading could wait without end.

    Raises:
        OSError: The path cannot be looked up.
        ValueError: It contains a null character.
    """
    mode = path.stat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def cores() -> int:
    """Number of CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def free_bytes(path: Path) -> int:
    """Free bytes on the disk that holds ``path`` (or its nearest existing parent)."""
    return shutil.disk_usage(existing_parent(path)).free


def existing_parent(path: Path) -> Path:
    """The path itself if it exists, otherwise its nearest existing parent."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def clipped(text: str, most: int) -> str:
    """Return at most the first ``most`` characters, with an ellipsis where some were left out."""
    return text if len(text) <= most else f"{text[:most]}…"


def percent(share: float) -> str:
    """Format a fraction as a percentage: ``1.8 %``, ``0.02 %``, ``41 %``, as words.js does."""
    exact = Decimal(100 * share)
    if exact >= Decimal("9.95"):
        return f"{exact.quantize(Decimal(1), ROUND_HALF_UP)} %"
    two_digits = Context(prec=2, rounding=ROUND_HALF_UP)
    return f"{two_digits.create_decimal(exact).normalize():f} %"


def human_bytes(count: float) -> str:
    """Format a number of bytes for users: ``1.2 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")
