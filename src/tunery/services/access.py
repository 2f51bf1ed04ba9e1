"""Access control for what a client of the page or the API names: models, datasets, runs, folders.

A name may be a path. Paths that the web server opens must lie in the folders that the user has
allowed (``services.machine.roots``); a terminal is not restricted. Every route and every form field
goes through this module; ``tests/web/test_access.py`` checks them all. What an allowed name refers
to in turn, such as the base of a run that was started in a terminal, is not checked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunery.config import settings
from tunery.data.catalog import BUILTIN, ELSEWHERE, located
from tunery.data.registered import registered
from tunery.errors import RunError, TuneryError
from tunery.i18n import t
from tunery.runs.folder import NAME as RUN_NAME
from tunery.services import machine
from tunery.types import is_list, is_mapping

CATALOG = "data.catalog"
CHARACTERS = 4096
"""Maximum length of a path or of a name that may be a path."""


def path(given: str) -> Path:
    """Return the real path of what a client wrote, links resolved; it may not exist.

    Raises:
        TuneryError: It lies outside the allowed folders (``forbidden``), or is not a path.
    """
    if not given.strip() or len(given) > CHARACTERS or any(ord(c) < 32 for c in given):
        raise TuneryError(t("Invalid path."), code="bad_path")
    return machine.inside_roots(Path(given))


def place(given: str) -> str:
    """Return the real path of what a client wrote, as text; an empty text stays empty.

    Raises:
        TuneryError: See ``path``.
    """
    return str(path(given)) if given.strip() else ""


def model(name: str) -> str:
    """Return the name if a client may use what it refers to.

    Raises:
        TuneryError: It is a path outside the allowed folders.
    """
    if _is_path(name.strip()):
        path(name.strip())
    return name


def dataset(name: str) -> str:
    """Return the name if a client may read what it refers to; see ``model``."""
    text = name.strip()
    if text in BUILTIN or text in registered() or text.startswith((*ELSEWHERE, "upload:")):
        return name
    place = located(text)
    if place is not None:
        path(str(place[0]))
        return name
    return model(name)


def run(name: str) -> str:
    """Return the name if it is a valid run name: a client cannot name a run by its folder.

    Raises:
        RunError: It is not a valid run name.
    """
    if not RUN_NAME.fullmatch(name):
        raise RunError(
            t("{name!r} is not a run name.", name=name[:80]),
            fix=t("Use the name shown in the list of runs."),
            code="unknown",
        )
    return name


def catalog(given: str) -> str:
    """Return the folder of a catalog if a client may read every file that it lists.

    Raises:
        TuneryError: It, or one of the files, lies outside the allowed folders.
    """
    from tunery.data.llamafactory import read_registry

    folder = path(given)
    try:
        entries = read_registry(folder)
    except TuneryError:
        return given  # whoever reads it reports what is wrong
    for file in (file for entry in entries for file in entry.files):
        path(str(file))
    return given


def config(values: Mapping[str, Any]) -> dict[str, TuneryError]:
    """Check the settings of a form: every text that is a path must lie in an allowed folder.

    So must every file that a catalog lists: it may name any place on this machine.

    Args:
        values: Values by path of their setting.

    Returns:
        The errors for what may not be opened, by path of the setting.
    """
    found: dict[str, TuneryError] = {}
    for setting_path, value in values.items():
        for setting in settings.by_path().get(setting_path, ())[:1]:
            if setting.whole_text or setting.is_dict or setting.choices:
                continue
            try:
                for text in _texts(value):
                    dataset(text.rpartition("*")[0] if _weighted(text) else text)
                    if setting_path == CATALOG and text:
                        catalog(text)
            except TuneryError as error:
                found[setting_path] = error
    return found


def section(name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of one section, such as ``data``, if all of their paths may be opened.

    Raises:
        TuneryError: One path may not be opened.
    """
    refused = config({f"{name}.{key}": value for key, value in values.items()})
    for error in refused.values():
        raise error
    return values


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for line in value.splitlines() for part in (line, *line.split(","))]
    if is_mapping(value):
        return [text for each in value.values() for text in _texts(each)]
    return [text for each in value for text in _texts(each)] if is_list(value) else []


def _weighted(text: str) -> bool:
    head, star, weight = text.rpartition("*")
    return bool(head and star) and weight.replace(".", "", 1).isdigit()


def _is_path(text: str) -> bool:
    """Whether a loader could treat it as a path; relative to the server's working directory."""
    if not text:
        return False
    if text.startswith(("/", "~", ".")) or ".." in text.split("/") or "\\" in text:
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a name, or contains a NUL
        return False
