"""Import a .gguf file: convert it once into a model folder under TUNERY_HOME/models.

The conversion runs in a child process without access tokens in its environment. It writes to a
staging folder, which is renamed when complete; a lock makes other processes wait. ``tunery.json``
in the folder records its source and the hash of every file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from tunery import env
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models.gguf import GGUFHeader, read_header
from tunery.models.progress import Progress, ProgressEvent, silent

RECORD = "tunery.json"
"""The file in an imported folder that records its source."""

PASSED_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "SYSTEMROOT",
)  # fmt: skip
CONVERTED_BYTES_PER_PARAMETER = 2
TELL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Source:
    """A .gguf file to import.

    Args:
        name: The name that the user gave, for messages.
        file: The .gguf file.
        folder: Folder for the converted model; it does not exist yet.
        sha256: The file's SHA-256, in hex.
        origin: Source to record instead of the file's path, for a file that is deleted afterwards.
    """

    name: str
    file: Path
    folder: Path
    sha256: str
    origin: str = ""


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read the record of an imported folder; None if there is none or it is not valid JSON."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def imported_folder(file: Path) -> Path | None:
    """The folder converted from this .gguf file, by path, size and time; None if there is none."""
    stat = file.stat()
    wanted = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
    for folder in sorted(env.models_dir().glob("*/")):
        source = (read_record(folder) or {}).get("source", {})
        if (source.get("file"), source.get("size_bytes"), source.get("mtime_ns")) == wanted:
            return folder
    return None


def import_gguf(file: Path, *, name: str, progress: Progress = silent) -> Path:
    """Convert a .gguf file into a folder under TUNERY_HOME/models, once.

    Returns:
        The folder of the converted model.

    Raises:
        ModelError: The file is damaged, its architecture or tensor types are not supported, or
            the disk is too small.
    """
    found = imported_folder(file)
    if found is not None:
        return found
    header = read_header(file)
    check_architecture(header)
    digest = sha256_of(file)
    folder = env.models_dir() / f"{file.stem}-{digest[:8]}"
    source = Source(name, file.resolve(), folder, digest)
    with locked(folder.name):
        if read_record(folder) is None:
            convert(source, header, progress)
    return folder


def check_architecture(header: GGUFHeader) -> None:
    """Refuse a file that cannot be converted, before the conversion starts.

    Raises:
        ModelError: The file is one part of a split model, has no tokenizer, or has an unsupported
            architecture.
    """
    from tunery.models.architectures import gguf_architectures

    if header.metadata.get("split.count", 0) not in (0, 1):
        raise ModelError(
            t(
                "{path}: one part of a GGUF file split into {count} parts.",
                path=header.path,
                count=header.metadata["split.count"],
            ),
            fix=t("Join the parts with llama-gguf-split --merge, then use the merged file."),
        )
    if "tokenizer.ggml.tokens" not in header.metadata:
        raise ModelError(
            t("{path}: this GGUF file contains no tokenizer.", path=header.path),
            fix=t("Use a GGUF file of a language model, not of a projector or an adapter."),
        )
    known = gguf_architectures()
    if known and header.architecture.replace("-", "_") not in known:
        raise ModelError(
            t(
                "{path}: transformers cannot read GGUF files with the architecture {name}.",
                path=header.path,
                name=header.architecture,
            ),
            fix=t("Supported: {names}.", names=", ".join(sorted(known))),
        )


def convert(source: Source, header: GGUFHeader, progress: Progress) -> None:
    """Convert in a child process, into a staging folder that is renamed when complete.

    The caller holds the lock of the folder's name.

    Raises:
        ModelError: The disk is too small, or the conversion failed.
    """
    root = source.folder.parent
    for left in root.glob(f".staging-{source.folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    expected = header.num_parameters * CONVERTED_BYTES_PER_PARAMETER
    check_disk(root, expected, what=source.name)
    staged = root / f".staging-{source.folder.name}-{os.getpid()}"
    staged.mkdir(parents=True)
    try:
        notes = _run_child(source, staged, progress, expected)
        _write_record(source, header, staged, notes)
        _sync(staged)
        if source.folder.exists():  # without a record: not made by an import, moved aside
            source.folder.rename(root / f".trash-{source.folder.name}-{os.getpid()}")
        staged.rename(source.folder)
        _sync_folder(root)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    progress(ProgressEvent("done", source.name, text=str(source.folder)))


def check_disk(folder: Path, need: int, *, what: str) -> None:
    """Check that a disk has enough free space, with a margin of 5 %.

    Args:
        folder: A folder on the disk; it may not exist yet.
        need: Bytes needed.
        what: Name of the model, for the message.

    Raises:
        ModelError: The space is too small; gives the bytes needed and free.
    """
    free = env.free_bytes(folder)
    if free < need * 1.05:
        raise ModelError(
            t(
                "{what}: needs {need} in {folder}, which has {free} free.",
                what=what,
                need=env.human_bytes(need * 1.05),
                folder=folder,
                free=env.human_bytes(free),
            ),
            fix=t("Free some space, or set TUNERY_HOME or HF_HOME to a larger disk."),
            code="disk_full",
        )


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of a model within a ``with`` block; other processes wait."""
    folder = env.models_dir() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / f"{name}.lock"):
        yield


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _run_child(source: Source, staged: Path, progress: Progress, expected_bytes: int) -> list[str]:
    """Run the converter, report the elapsed time and the bytes written, and return its notes.

    Its output is shown only if it fails. If ``progress`` raises, the converter is killed.
    """
    log = staged.with_name(staged.name + ".log")
    argv = [sys.executable, "-P", "-m", "tunery.models.convert", str(source.file), str(staged)]
    try:
        with log.open("wb") as output:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment()
            )
            try:
                status = _watched(child, source, staged, progress, expected_bytes)
            except BaseException:
                child.kill()
                child.wait()
                raise
        if status != 0:
            raise _failed(source, status, log.read_text(encoding="utf-8", errors="replace"))
    finally:
        log.unlink(missing_ok=True)
    result = staged / "convert.json"
    notes = json.loads(result.read_text(encoding="utf-8"))["notes"]
    result.unlink()
    return notes


def _watched(
    child: subprocess.Popen[bytes],
    source: Source,
    staged: Path,
    progress: Progress,
    expected_bytes: int,
) -> int:
    """Wait for the converter, with a progress event per interval, and return its exit status."""
    began = time.monotonic()
    while True:
        progress(
            ProgressEvent(
                "convert",
                source.name,
                done_bytes=min(expected_bytes, _written(staged)),
                total_bytes=expected_bytes,
                seconds=time.monotonic() - began,
            )
        )
        with suppress(subprocess.TimeoutExpired):
            return child.wait(TELL_SECONDS)


def _written(folder: Path) -> int:
    """Bytes of the files in a folder that another process is writing."""
    total = 0
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # renamed since
            total += file.stat().st_size
    return total


def _environment() -> dict[str, str]:
    kept = {key: os.environ[key] for key in PASSED_ENVIRONMENT if key in os.environ}
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TQDM_DISABLE": "1"}
    # threads that do not spin while waiting: several times faster on busy cores
    return {"OMP_WAIT_POLICY": "PASSIVE", **kept, **quiet}


def _failed(source: Source, status: int, log: str) -> ModelError:
    last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")
    if status < 0:
        name = signal.Signals(-status).name
        last = t("the converter exited with {signal}", signal=name)
        fix = t("SIGKILL usually means out of memory: close other programs and try again.")
    elif "No module named" in log:
        fix = t("Install the converter: pip install 'tunery[train]'")
    else:
        fix = t("Use the model's safetensors version, if there is one.")
    return ModelError(
        t("{name}: the GGUF file could not be converted: {why}", name=source.name, why=last[:500]),
        fix=fix,
        log="\n".join(log.splitlines()[-40:]),
    )


def _write_record(source: Source, header: GGUFHeader, staged: Path, notes: list[str]) -> None:
    stat = source.file.stat()
    files = {
        file.name: {"size_bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in sorted(staged.iterdir())
    }
    whole = "".join(f"{name} {entry['sha256']}\n" for name, entry in files.items())
    record = {
        "name": source.name,
        "source": {
            "kind": "gguf",
            "file": source.origin or str(source.file),
            "size_bytes": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "sha256": source.sha256,
            "architecture": header.architecture,
            "quantization": header.quantization,
        },
        "files": files,
        "sha256": hashlib.sha256(whole.encode()).hexdigest(),
        "notes": notes,
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (staged / RECORD).write_text(text, encoding="utf-8")


def _sync(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes 0600
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some file systems cannot sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
