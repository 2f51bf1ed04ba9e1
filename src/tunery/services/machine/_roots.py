"""The folders that the page may open, in a folder picker or by a typed path.

By default the home folder, TUNERY_HOME, the hub cache, and where rented machines keep data. The
user can add others on the Settings page. A symbolic link that leads out of them does not count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunery import env
from tunery.errors import ConfigError, TuneryError
from tunery.i18n import t
from tunery.models import hubcache
from tunery.state import prefs

PREFERENCE = "roots"
ALLOW = "allow_folder"
"""The remedy action that allows a folder; offered only to a person, never to an API key."""
USUAL = ("/root/autodl-tmp", "/workspace", "/data", "/mnt", "/content", "/kaggle")


def roots() -> list[Path]:
    """Every folder that may be opened, including its subfolders."""
    home = _user_home()
    found = [*([home] if home else []), env.home(), hub_cache()]
    found += [*map(Path, USUAL), *map(Path, added_roots())]
    kept: list[Path] = []
    for path in found:
        real = path.resolve()
        if real.is_dir() and real not in kept and real != Path("/"):
            kept.append(real)
    return kept


def added_roots() -> list[str]:
    """Folders that the user added."""
    return [str(path) for path in prefs.get(PREFERENCE, [])]


def set_added_roots(folders: list[str]) -> None:
    """Replace the list of added folders.

    Raises:
        ConfigError: One is not a folder on this machine, or is the whole disk.
    """
    kept: list[str] = []
    for folder in folders:
        if not folder.strip():
            continue
        path = env.expanded(folder.strip())
        if not path.is_absolute() or not path.is_dir():
            raise ConfigError(
                t("{path}: folder not found on this machine.", path=folder.strip()),
                fix=t("Use an absolute path, such as /data/models"),
                code="no_folder",
            )
        if path.resolve() == Path("/"):
            raise ConfigError(
                t("The page cannot be given access to the whole disk."),
                fix=t("List the folders that contain your models and data."),
                code="too_wide",
            )
        kept.append(str(path.resolve()))
    prefs.set(PREFERENCE, list(dict.fromkeys(kept)))


def add_root(folder: str) -> None:
    """Add one folder to those that the user added.

    Raises:
        ConfigError: See ``set_added_roots``.
    """
    set_added_roots([*added_roots(), folder])


def inside_roots(path: Path) -> Path:
    """Resolve every link of a path and return it if it lies in one of the folders.

    Hidden folders of the home folder (``~/.ssh``) hold keys, and files directly in TUNERY_HOME are
    Tunery's own; both count as outside.

    Raises:
        TuneryError: It lies outside (code ``forbidden``), with the folder to allow as a remedy.
    """
    try:
        real = env.expanded(path).resolve()
    except (ValueError, RuntimeError, OSError):  # NUL byte; ~nobody; circular links
        real = None
    if real and any(_holds(root, real) for root in roots()):
        return real
    folder = _folder_to_allow(real) if real else None
    raise TuneryError(
        t("{path} is outside the folders that the page may open.", path=path),
        fix=t("Add its folder in Settings, under Folders."),
        code="forbidden",
        **({"remedies": [allow_folder(folder)]} if folder else {}),
    )


def allow_folder(folder: Path) -> dict[str, Any]:
    """Make the button that allows a folder; never offered to an API key."""
    label = t("Allow {folder}", folder=folder)
    return {"action": ALLOW, "label": label, "folder": str(folder)}


def _holds(root: Path, real: Path) -> bool:
    if not real.is_relative_to(root):
        return False
    inner = real.relative_to(root).parts
    if root == env.home().resolve() and len(inner) == 1 and not _is_folder(real):
        return False
    return root != _user_home() or not any(part.startswith(".") for part in inner)


def _folder_to_allow(real: Path) -> Path | None:
    """The nearest existing folder; None for the root, the home folder and Tunery's own."""
    if real.parent == env.home().resolve():
        return None
    folder = next((each for each in (real, *real.parents) if _is_folder(each)), Path("/"))
    return None if folder in (Path("/"), _user_home()) else folder


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name too long for the file system
        return False


def _user_home() -> Path | None:
    found = env.user_home()
    return found.resolve() if found else None


def hub_cache() -> Path:
    """The folder of the hub cache; it may not exist yet."""
    return hubcache.hub_dir()
