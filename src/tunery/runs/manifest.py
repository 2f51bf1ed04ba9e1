"""MANIFEST.json: lists the files of a checkpoint, to verify it without heavy libraries.

A checkpoint is valid only if its manifest verifies: every file has the recorded size and SHA-256,
the step matches the folder's name, and the manifest's own digest is correct. Readers use the newest
valid checkpoint and report the newer ones that they skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery import atomic
from tunery.errors import RunError
from tunery.i18n import t
from tunery.workers.folder import read_json, write_json

FILE_NAME = "MANIFEST.json"
PINNED = "PINNED"
"""A checkpoint with a file of this name is never deleted by retention."""

VERSION = 1
_STEP = re.compile(r"step-(\d{8,})")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Rejected:
    """A checkpoint folder that does not verify, with the reason, translated."""

    folder: Path
    reason: str


def step_of(folder: Path) -> int | None:
    """The step in a checkpoint folder's name; None for any other folder."""
    match = _STEP.fullmatch(folder.name)
    return int(match[1]) if match else None


def write_manifest(
    folder: Path,
    *,
    step: int,
    config_hash: str,
    data_hash: str,
    run: str,
    versions: dict[str, str],
    **extra: Any,
) -> dict[str, Any]:
    """Hash and fsync every file of a staged checkpoint, then write its manifest.

    Args:
        folder: The staging folder, with all files of the checkpoint.
        step: Optimizer steps taken; also the number in the folder's final name.
        config_hash: ``folder.config_hash`` of the run's settings.
        data_hash: Hash of the training rows.
        run: The run's name.
        versions: Versions of the packages that wrote it.
        extra: More JSON values, such as ``config`` (to report changes), ``loss``, ``best``.

    Returns:
        The manifest. The folder and its subfolders are fsynced.
    """
    files: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != FILE_NAME:
            size, digest = _hash(path, sync=True)
            name = path.relative_to(folder).as_posix()
            files.append({"name": name, "size": size, "sha256": digest})
    manifest: dict[str, Any] = {
        "version": VERSION,
        "step": step,
        "run": run,
        "files": files,
        "config_hash": config_hash,
        "data_hash": data_hash,
        "versions": versions,
        **extra,
    }
    manifest["sha256"] = _own_digest(manifest)
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            atomic.flush(path)
    write_json(folder / FILE_NAME, manifest)
    atomic.flush(folder)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a manifest and check its digest, version and step, but not the other files.

    Raises:
        RunError: The manifest is missing, damaged, of another version, or of another step.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise _broken(folder, t("{file} is missing", file=FILE_NAME))
    manifest = read_json(path)
    if manifest.get("sha256") != _own_digest(manifest):
        raise _broken(folder, t("{file} was modified after it was written", file=FILE_NAME))
    if manifest.get("version") != VERSION:
        raise _broken(
            folder,
            t("{file} has version {version}; this program supports {known}",
              file=FILE_NAME, version=manifest.get("version"), known=VERSION),
        )  # fmt: skip
    named = step_of(folder)
    if named is not None and named != manifest["step"]:
        raise _broken(
            folder, t("{file} belongs to step {step}", file=FILE_NAME, step=manifest["step"])
        )
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Check every file of a checkpoint against its manifest and return the manifest.

    Raises:
        RunError: A file is missing or has another size or content; names the file.
    """
    manifest = read_manifest(folder)
    for entry in manifest["files"]:
        path = folder / entry["name"]
        if not path.resolve().is_relative_to(folder.resolve()):
            raise _broken(folder, t("{file} is outside the checkpoint folder", file=entry["name"]))
        try:
            status = path.lstat()
        except OSError as error:
            raise _broken(folder, t("{file} is missing", file=entry["name"])) from error
        if not stat.S_ISREG(status.st_mode):
            raise _broken(folder, t("{file} is not a regular file", file=entry["name"]))
        if status.st_size != entry["size"]:
            raise _broken(
                folder,
                t("{file} has {found} bytes, expected {size}",
                  file=entry["name"], found=status.st_size, size=entry["size"]),
            )  # fmt: skip
        if _hash(path)[1] != entry["sha256"]:
            raise _broken(folder, t("{file} is damaged (SHA-256 mismatch)", file=entry["name"]))
    return manifest


def list_checkpoints(checkpoints_dir: Path) -> list[Path]:
    """Every folder with a checkpoint's name, lowest step first, valid or not."""
    try:
        found = [path for path in checkpoints_dir.iterdir() if step_of(path) is not None]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: step_of(path) or 0)


def newest_valid(checkpoints_dir: Path) -> tuple[Path | None, list[Rejected]]:
    """Find the valid checkpoint with the highest step.

    Returns:
        Its folder (None if there is none), and the newer ones that do not verify.
    """
    rejected: list[Rejected] = []
    for folder in reversed(list_checkpoints(checkpoints_dir)):
        try:
            verify(folder)
        except RunError as error:
            rejected.append(Rejected(folder, error.message))
            continue
        return folder, rejected
    return None, rejected


def _hash(path: Path, *, sync: bool = False) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
        if sync:
            os.fsync(file.fileno())
    return size, digest.hexdigest()


def _own_digest(manifest: dict[str, Any]) -> str:
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _broken(folder: Path, reason: str) -> RunError:
    return RunError(
        t("Checkpoint {folder}: {reason}.", folder=folder, reason=reason),
        fix=t("An older checkpoint is used if there is one."),
        path=folder,
    )
