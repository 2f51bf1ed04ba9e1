"""Undoable removal of a dataset: its name and own copy are kept in a trash folder for a day."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from tunery import env
from tunery.data.registered import changing
from tunery.errors import DataError, UnknownName
from tunery.i18n import t
from tunery.services.datasets import _named

KEPT_SECONDS = 24 * 3600
TOKEN = re.compile(r"[0-9a-f]{16}")


def move_to_trash(name: str) -> dict[str, Any]:
    """Unregister a dataset's name; its own copy is kept for a day.

    Returns:
        ``{"name", "path", "undo"}``; ``undo`` is the argument of :func:`restore`.

    Raises:
        DataError: It is built in.
        UnknownName: No such dataset was added.
    """
    sweep()
    token = secrets.token_hex(8)
    folder = _root() / token
    with changing() as entries:
        entry = _named.added(name, entries)
        folder.mkdir(parents=True)
        (folder / "entry.json").write_text(json.dumps({"name": name, "entry": entry}))
        if entry.get("owned"):
            _named.own_folder(name).replace(folder / "copy")
        entries.pop(name)
    return {"name": name, "path": entry["path"], "undo": token}


def restore(token: str) -> dict[str, Any]:
    """Restore a removed dataset under its name.

    Raises:
        UnknownName: It was deleted permanently.
        DataError: Its name has been given to another dataset in the meantime.
    """
    folder = _root() / token
    if not TOKEN.fullmatch(token) or not (folder / "entry.json").is_file():
        raise UnknownName(t("It was deleted permanently."), fix=t("Add it again."))
    kept = json.loads((folder / "entry.json").read_text())
    name = kept["name"]
    with changing() as entries:
        if name in entries:
            raise DataError(
                t("A dataset named {name} already exists.", name=name),
                fix=t("Rename one of them."),
                code="exists",
            )
        if (folder / "copy").is_dir():
            own = _named.own_folder(name)
            own.parent.mkdir(parents=True, exist_ok=True)
            (folder / "copy").replace(own)
        entries[name] = kept["entry"]
    shutil.rmtree(folder, ignore_errors=True)
    return {"name": name}


def sweep() -> None:
    """Delete what was removed more than a day ago."""
    for folder in _root().iterdir() if _root().is_dir() else ():
        if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _root() -> Path:
    return env.datasets_dir() / "trash"
