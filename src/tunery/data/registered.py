"""Datasets that the user added by name: ``TUNERY_HOME/datasets/datasets.json``."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from tunery import atomic, env
from tunery.errors import DataError
from tunery.i18n import t
from tunery.types import is_object


def registry_file() -> Path:
    """The file that lists the added datasets."""
    return env.datasets_dir() / "datasets.json"


def registered() -> dict[str, dict[str, Any]]:
    """All added datasets: name -> path, format, columns, sha256, owned.

    Raises:
        DataError: The file is damaged or cannot be read.
    """
    file = registry_file()
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(
            t("{file} cannot be read: {error}.", file=file, error=error),
            fix=t("Correct it, or move it elsewhere and add the datasets again."),
        ) from error
    return entries if is_object(entries) else {}


@contextlib.contextmanager
def changing() -> Generator[dict[str, dict[str, Any]]]:
    """Lock the list to change it; it is written if the block ends without an error.

    If another process is changing the list, this waits for it.

    Raises:
        DataError: The file is damaged or cannot be written.
    """
    folder = env.datasets_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".datasets.lock").open("a")
    except OSError as error:
        raise DataError(
            t("{file} cannot be written: {strerror}.", file=folder, strerror=error.strerror),
            fix=t("Set TUNERY_HOME to a writable folder with enough disk space."),
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = registered()
        yield entries
        write_registered(entries)


def write_registered(entries: dict[str, dict[str, Any]]) -> None:
    """Write the list atomically.

    Raises:
        DataError: The folder cannot be written.
    """
    file = registry_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(file, json.dumps(entries, ensure_ascii=False, indent=2))
    except OSError as error:
        raise DataError(
            t("{file} cannot be written: {strerror}.", file=file, strerror=error.strerror),
            fix=t("Set TUNERY_HOME to a writable folder with enough disk space."),
        ) from error
