"""Names and paths that a client gives: only inside the folders that are meant.

A name is ``[a-z0-9][a-z0-9._-]{0,63}`` and becomes one folder under a root. A path is resolved and
must lie under one of the roots (``is_relative_to``, never a comparison of text). What is opened is
a plain file, opened without following a link.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import BinaryIO

from tunery.errors import TuneryError
from tunery.i18n import t

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
PATH_CHARACTERS = 4096


class PathError(TuneryError):
    """A name or a path that a client may not use."""


def check_name(name: str) -> str:
    """Give the name back if it may become a folder's.

    Raises:
        PathError: It may not.
    """
    if not NAME.fullmatch(name) or name.endswith(".") or _DEVICES.fullmatch(name):
        raise PathError(
            t("{name!r} is no name here.", name=name[:80]),
            fix=t("Use small letters, digits, dots, dashes and _, 64 characters at most."),
            code="bad_name",
        )
    return name


def inside(root: Path, name: str) -> Path:
    """The path of one entry of a folder that is ours; a link there is refused.

    Raises:
        PathError: The name is wrong, or the entry is a link.
    """
    path = root / check_name(name)
    if path.is_symlink():
        raise _outside()
    return path


def under(roots: Sequence[Path], given: str) -> Path:
    """Resolve a path that a person wrote, if it leads under one of the roots.

    Args:
        roots: Folders that may be looked into; ``~`` in ``given`` is the home folder.
        given: What the person wrote; a relative path is taken from the first root.

    Returns:
        The real path, links resolved. It may not exist.

    Raises:
        PathError: It leads elsewhere, or it is no path.
    """
    if not given.strip() or len(given) > PATH_CHARACTERS or any(ord(c) < 32 for c in given):
        raise PathError(t("That is no path."), code="bad_path")
    try:
        path = (roots[0] / Path(given).expanduser()).resolve()
        allowed = any(path.is_relative_to(root.resolve()) for root in roots)
    except (OSError, RuntimeError, ValueError) as error:
        raise PathError(t("That is no path."), code="bad_path") from error
    if not allowed:
        raise _outside()
    return path


@contextlib.contextmanager
def opened(path: Path) -> Generator[BinaryIO]:
    """Open a plain file for reading; never through a link, and never a pipe or a device.

    Raises:
        PathError: It is no plain file, or it cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise _outside() from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise _outside()
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _outside() -> PathError:
    return PathError(
        t("That is not under a folder that this server may look into."),
        fix=t("Add its folder in Settings, under Folders."),
        code="outside",
    )
