"""The base model of an adapter: what it was trained on, and the location set by the user.

A run stores the fingerprint of its base model in base.json. It is compared each time the adapter is
used, because other weights of the same shape load without an error and give wrong answers.
``name`` records a new location or a replacement for the base in TUNERY_HOME/bases.json.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from tunery import atomic, env
from tunery.commands import quoted
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.types import is_mapping

_SAMPLES, _SAMPLE_BYTES = 64, 65536

MISSING = "base_missing"
OTHER = "other_base"
"""Codes of errors that ``name`` fixes; their field ``owner`` is the name of the run or adapter."""


def fingerprint(folder: Path) -> str:
    """Identify a model's weights without reading all of them.

    SHA-256 over config.json and, for each safetensors file, its size, its header and 64 samples
    of 64 KiB at even distances, which differ between models, revisions and full fine-tunes. The
    result is cached until the size, the time or the inode of a file changes.
    """
    found = sorted([*folder.glob("config.json"), *folder.glob("*.safetensors")])
    stamps = [(file, file.stat()) for file in found]
    return _fingerprint(tuple((str(f), s.st_size, s.st_mtime_ns, s.st_ino) for f, s in stamps))


@functools.lru_cache(maxsize=256)
def _fingerprint(stamps: tuple[tuple[str, int, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, size, _, _ in stamps:
        file = Path(path)
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            if file.suffix == ".json":
                digest.update(stream.read())
                continue
            digest.update(stream.read(8 + _SAMPLE_BYTES))
            for i in range(_SAMPLES):
                stream.seek(size * i // _SAMPLES)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def record(run: Path, base: Path) -> None:
    """Write the path and the fingerprint of the base model into a run's folder."""
    kept = {"path": str(base), "fingerprint": fingerprint(base)}
    atomic.write(run / "base.json", json.dumps(kept, ensure_ascii=False) + "\n")


def named(owner: Path) -> str:
    """The base that the user set for the folder of a run or an adapter; empty if none is set."""
    return str(_entry(owner).get("base") or "")


def name(owner: Path, base: str, folder: Path) -> None:
    """Set the base model of a run or an adapter.

    Args:
        owner: The folder of the run or the adapter.
        base: The name of the base model as the user wrote it; paths are absolute.
        folder: The folder that the name refers to now.
    """
    entries = _read(_file())
    entries[str(owner.resolve())] = {"base": base, "fingerprint": fingerprint(folder)}
    _file().parent.mkdir(parents=True, exist_ok=True)
    atomic.write(_file(), json.dumps(entries, ensure_ascii=False, indent=1) + "\n")


def is_known(owner: Path) -> bool:
    """Whether the fingerprint of the base model that an adapter was trained on is recorded."""
    return bool(_wanted(owner))


def check(owner: Path, shown: str, base: Path) -> None:
    """Compare a base model with the recorded fingerprint; without one, accept any.

    Args:
        owner: The folder of the run or the adapter.
        shown: The name that the user gave, for the message.
        base: The folder of the base model.

    Raises:
        ModelError: The base model has other weights.
    """
    wanted = _wanted(owner)
    if not wanted or wanted == fingerprint(base):
        return
    raise ModelError(
        t("{name}: its base model {base} does not have the weights it was trained on.",
          name=shown, base=base),
        fix=t("Restore the weights, or set the model to use: tunery models base {name} MODEL",
              name=quoted(shown)),
        code=OTHER,
        path=base,
        owner=shown,
    )  # fmt: skip


def _wanted(owner: Path) -> str:
    return str((_entry(owner) or _read(owner / "base.json")).get("fingerprint") or "")


def _entry(owner: Path) -> dict[str, Any]:
    found = _read(_file()).get(str(owner.resolve()))
    return dict(found) if is_mapping(found) else {}


def _read(file: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing or invalid."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(value) if is_mapping(value) else {}


def _file() -> Path:
    return env.home() / "bases.json"
