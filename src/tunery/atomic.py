"""Atomic file writes: content is written under another name, flushed, then renamed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Write a file atomically and flush it to the disk.

    Args:
        path: The file, replaced if it exists; its folder must exist.
        content: Text is written as UTF-8.
        private: Whether only this user may read it.

    Raises:
        OSError: It cannot be written; its ``filename`` is ``path``. An existing file is kept.
    """
    staging = staged(path, content, private=private)
    try:
        staging.replace(path)
    except OSError as error:
        raise _of(error, path) from error
    finally:
        staging.unlink(missing_ok=True)


def staged(path: Path, content: str | bytes, *, private: bool = False) -> Path:
    """Write a flushed temporary file beside ``path``, for the caller to rename or remove.

    Args:
        path: Final path of the file.
        content: As in ``write``.
        private: As in ``write``.

    Raises:
        OSError: As in ``write``; no temporary file is left.
    """
    staging = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(staging, flags, 0o600 if private else 0o666), "wb") as out:
            out.write(content.encode() if isinstance(content, str) else content)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        staging.unlink(missing_ok=True)
        raise _of(error, path) from error
    return staging


def flush(path: Path) -> None:
    """Flush a file, or a folder's entries, so that a rename in it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _of(error: OSError, path: Path) -> OSError:
    """The same error for the final path instead of the temporary one."""
    return OSError(error.errno, error.strerror, str(path))
