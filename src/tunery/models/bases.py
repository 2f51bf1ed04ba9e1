"""The base model of an adapter: what it was trained on, and the location set by the user.

A run keeps the fingerprint of its base in base.json. Whoever uses its adapter compares it: weights
of the same shape load without a word and answer something else. ``name`` records another place, or
that other weights are meant, in TUNERY_HOME/bases.json.
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
"""Codes of errors that naming the base mends; their ``owner`` is what to name it for."""


def fingerprint(folder: Path) -> str:
    """Identify a model's weights without reading all of them.

    SHA-256 over config.json and, for each safetensors file, its size, its header and 64 samples
    of 64 KiB spread evenly: another model, revision or fine-tune never has the same. It is kept
    for as long as no file has another size or time.
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
    """Keep in a run's folder what its base is."""
    kept = {"path": str(base), "fingerprint": fingerprint(base)}
    atomic.write(run / "base.json", json.dumps(kept, ensure_ascii=False) + "\n")


def named(owner: Path) -> str:
    """The base that the user set for the folder of a run or an adapter; empty if none is set."""
    return str(_entry(owner).get("base") or "")


def name(owner: Path, base: str, folder: Path) -> None:
    """Record the base of a run's or an adapter's folder.

    Args:
        owner: The folder.
        base: The name of the base model, as the user wrote it, a path made absolute.
        folder: What that name currently refers to.
    """
    entries = _read(_file())
    entries[str(owner.resolve())] = {"base": base, "fingerprint": fingerprint(folder)}
    _file().parent.mkdir(parents=True, exist_ok=True)
    atomic.write(_file(), json.dumps(entries, ensure_ascii=False, indent=1) + "\n")


def is_known(owner: Path) -> bool:
    """Whether the weights that an adapter was trained on are recorded."""
    return bool(_wanted(owner))


def check(owner: Path, shown: str, base: Path) -> None:
    """Compare a base with what the adapter was trained on, where that is known.

    Args:
        owner: The run's or the adapter's folder.
        shown: The name that the user gave.
        base: The folder of the base model.

    Raises:
        ModelError: Its weights are others.
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
    """A JSON object; one that is missing or broken is empty."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(value) if is_mapping(value) else {}


def _file() -> Path:
    return env.home() / "bases.json"
