"""Files that appear whole or not at all: written under another name, flushed, then renamed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Write a file, whole or not at all, and flush it to the disk.

    Args:
        path: Replaced if it exists; its folder exists.
        content: Text is written as UTF-8.
        private: Whether only this user may read it.

    Raises:
        OSError: It cannot be written; its ``filename`` is ``path``. What was there stays.
    """
    staging = staged(path, content, private=private)
    try:
        staging.replace(path)
    except OSError as error:
        raise _of(error, path) from error
    finally:
        staging.unlink(missing_ok=True)


def staged(path: Path, content: str | bytes, *, private: bool = False) -> Path:
    """Write a file's content beside it, flushed to the disk, for the caller to rename or remove.

    Args:
        path: Where the file will be.
        content: As in ``write``.
        private: As in ``write``.

    Raises:
        OSError: As in ``write``; nothing is left.
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
    """Flush a file, or a folder's entries, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _of(error: OSError, path: Path) -> OSError:
    """The same error about the file that was meant, not about the name it is written under."""
    return OSError(error.errno, error.strerror, str(path))
