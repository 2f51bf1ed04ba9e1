"""The static files of the web pages, read once, with URLs that depend on their content.

Every file is served under ``/static/VERSION/path``, where VERSION is a hash of the whole folder.
Modules import each other by relative path, so a single changed byte gives every module a new URL,
and browsers can cache each URL forever. Files are kept in memory, plain and gzipped: a request
never accesses a path that was not in the folder at start.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import mimetypes
import os
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
DEVELOPING = "TUNERY_DEV"
"""If this environment variable is set, files are read again on each request."""

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One static file."""

    media_type: str
    body: bytes
    gzipped: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """All static files and their common hash."""

    version: str
    files: dict[str, Asset]


def bundle() -> Bundle:
    """Return the static files of this installation."""
    return _read() if os.environ.get(DEVELOPING) else _kept()


def address(name: str) -> str:
    """Return the path of a static file, without the prefix that a proxy adds.

    Raises:
        KeyError: There is no such file; the name in the template is wrong.
    """
    files = bundle()
    if name not in files.files:
        raise KeyError(f"no static file {name}")
    return f"/static/{files.version}/{name}"


@functools.cache
def _kept() -> Bundle:
    return _read()


def _read() -> Bundle:
    whole = hashlib.sha256()
    files: dict[str, Asset] = {}
    for path in sorted(FOLDER.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        name, body = path.relative_to(FOLDER).as_posix(), path.read_bytes()
        whole.update(f"{name}\0{len(body)}\0".encode() + body)
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "text/plain"
        if kind.startswith("text/") or kind == "image/svg+xml":
            kind += "; charset=utf-8"
        files[name] = Asset(kind, body, gzip.compress(body, 9, mtime=0))
    return Bundle(whole.hexdigest()[:12], files)
