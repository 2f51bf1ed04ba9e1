"""Hashes of files and of the content of examples."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tunery.data.kinds import row_kind
from tunery.types import Example


def file_hash(path: Path) -> bytes:
    """SHA-256 of a file's content, as 32 bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def example_key(example: Example) -> str:
    """A hash of an example's content, equal for duplicates wherever they occur."""
    content = row_kind(example).content(example)
    text = json.dumps(content, ensure_ascii=True, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
