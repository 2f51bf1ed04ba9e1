"""Model folders that the user named by path: kept in the lists until they are removed from them.

Only the path is stored; the folder stays where it is and is never deleted. A folder that is gone,
or that the page may no longer open, is left out of the lists but not forgotten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunery import env
from tunery.errors import TuneryError
from tunery.models.resolve import resolve
from tunery.services import machine
from tunery.services.models import _local
from tunery.state import prefs

KEY = "model-folders"
MOST = 50


def known() -> list[dict[str, Any]]:
    """Every named model on this machine, then the stored folders; see ``_local.listing``."""
    listed = _local.listing()
    here = {entry["path"] for entry in listed}
    return [*listed, *(_local.entry(folder, "folder", Path(folder)) for folder in _usable(here))]


def keep_folder(name: str) -> str:
    """Store the folder of a model that is named by a path.

    Returns:
        The name under which the lists show it.

    Raises:
        TuneryError: It is not a model, or lies outside the folders that may be opened.
    """
    found = resolve(name)
    if not _is_folder(name):
        return name
    folder = str(machine.inside_roots(env.expanded(name)))
    others = [each for each in _kept() if each != folder]
    if not any(str(found.path) == entry["path"] for entry in _local.listing()):
        prefs.set(KEY, [folder, *others][:MOST])
    return folder


def forget_folder(name: str) -> None:
    """Remove a folder from the lists; its files stay."""
    prefs.set(KEY, [each for each in _kept() if each != name])


def _kept() -> list[str]:
    return [str(each) for each in prefs.get(KEY, [])]


def _usable(here: set[str]) -> list[str]:
    found: list[str] = []
    for folder in _kept():
        try:
            machine.inside_roots(Path(folder))
        except TuneryError:
            continue
        if folder not in here and Path(folder).is_dir():
            found.append(folder)
    return found


def _is_folder(name: str) -> bool:
    return name.startswith(("/", "~")) and env.expanded(name).is_dir()
