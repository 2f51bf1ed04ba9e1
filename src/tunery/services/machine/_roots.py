"""The folders that the page may look into: a picker, a path typed into a box.

By default the home folder, TUNERY_HOME, the hub cache, and where rented machines keep data. A
person may add others on the Settings page. A symbolic link that leads out of them does not count.
"""

from __future__ import annotations

import os
from pathlib import Path

from tunery import env
from tunery.errors import ConfigError, TuneryError
from tunery.i18n import t
from tunery.state import prefs

PREFERENCE = "roots"
USUAL = ("/root/autodl-tmp", "/workspace", "/data", "/mnt", "/content", "/kaggle")


def roots() -> list[Path]:
    """Every folder that may be looked into, each whole."""
    found = [Path.home(), env.home(), hub_cache(), *map(Path, USUAL), *map(Path, added_roots())]
    kept: list[Path] = []
    for path in found:
        real = path.resolve()
        if real.is_dir() and real not in kept and real != Path("/"):
            kept.append(real)
    return kept


def added_roots() -> list[str]:
    """Folders that a person added."""
    return [str(path) for path in prefs.get(PREFERENCE, [])]


def set_added_roots(folders: list[str]) -> None:
    """Keep another list of added folders.

    Raises:
        ConfigError: One is no folder here, or is the whole disk.
    """
    kept: list[str] = []
    for folder in folders:
        if not folder.strip():
            continue
        path = Path(folder.strip()).expanduser()
        if not path.is_absolute() or not path.is_dir():
            raise ConfigError(
                t("{path}: there is no such folder on this machine.", path=folder.strip()),
                fix=t("Give the whole path, such as /data/models"),
                code="no_folder",
            )
        if path.resolve() == Path("/"):
            raise ConfigError(
                t("The whole disk cannot be opened to the page."),
                fix=t("Name the folders that hold your models and data."),
                code="too_wide",
            )
        kept.append(str(path.resolve()))
    prefs.set(PREFERENCE, list(dict.fromkeys(kept)))


def inside_roots(path: Path) -> Path:
    """Follow every link of a path and give it if it lies in one of the folders.

    Raises:
        TuneryError: It lies outside (code ``forbidden``).
    """
    try:
        real = path.expanduser().resolve()
    except (ValueError, RuntimeError):  # a zero byte; ~nobody; links that lead in a circle
        real = None
    if real and any(real.is_relative_to(root) for root in roots()):
        return real
    raise TuneryError(
        t("{path} lies outside the folders that the page may open.", path=path),
        fix=t("Add its folder in Settings, under Folders."),
        code="forbidden",
    )


def hub_cache() -> Path:
    """The folder of the hub cache; it may not exist yet."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
