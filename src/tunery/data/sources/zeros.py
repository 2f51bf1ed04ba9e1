"""Zero bytes at the end of a file: space that was allocated but never written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

BLOCK_BYTES = 1024 * 1024


def ends_in_zeros(path: Path) -> bool:
    """Whether the last byte of a file is zero."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) == b"\x00"


def content_end(path: Path) -> int:
    """Number of bytes before the zeros at the end."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - BLOCK_BYTES)
            file.seek(start)
            kept = file.read(end - start).rstrip(b"\x00")
            if kept:
                return start + len(kept)
            end = start
    return 0


def copy_start(path: Path, target: Path, count: int) -> None:
    """Copy the first ``count`` bytes atomically."""
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(path, staging)
        os.truncate(staging, count)
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
