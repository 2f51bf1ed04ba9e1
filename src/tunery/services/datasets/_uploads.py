"""Files that a browser sends in pieces: staged in a hidden folder, visible only when complete.

An upload is a folder ``TUNERY_HOME/datasets/uploads/ID`` with ``upload.json`` and ``content.part``;
when the last byte has arrived, the content is renamed (and a zip archive extracted) into ``files``.
File names are made here from the letters and digits of the browser's name, so that messages name
the file as its owner does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tunery import env
from tunery.data.dataset import REGISTRY, SUFFIXES
from tunery.data.problems import visible
from tunery.data.sources.probe import suffix_of
from tunery.errors import DataError, UnknownName
from tunery.i18n import t
from tunery.services.datasets._archives import unpack
from tunery.state import prefs

ID = re.compile(r"[0-9a-f]{24}")
UPLOAD_CHUNK_BYTES = 4 * 1024 * 1024
MAX_BYTES = 20 * 1024**3
FLOOR_BYTES = 512 * 1024 * 1024
KEPT_SECONDS = 7 * 24 * 3600
MAX_NAME_BYTES = 150
MAX_PASTED = 4 * 1024 * 1024
UPLOAD_LIMIT_VARIABLE = "TUNERY_MAX_UPLOAD_BYTES"
PREFERENCE = "upload_bytes"


@dataclass(slots=True)
class Upload:
    """A file being uploaded, or one that has arrived.

    Args:
        id: The name of its folder.
        name: The browser's name for it; only displayed.
        size: Its total size in bytes.
        received: Bytes received so far.
        done: Whether it is complete and can be read.
        left_out: Members of an archive that hold no rows.
        created: When it began.
    """

    id: str
    name: str
    size: int
    received: int = 0
    done: bool = False
    left_out: int = 0
    created: float = 0.0

    @property
    def folder(self) -> Path:
        """Its staging folder."""
        return _root() / self.id

    @property
    def files(self) -> Path:
        """What it holds when complete: one file, or a folder of files."""
        inside = self.folder / "files"
        found = [path for path in inside.iterdir() if not path.name.startswith(".")]
        return found[0] if len(found) == 1 else inside


def begin_upload(name: str, size: int) -> Upload:
    """Start an upload, or find the one that was interrupted.

    Args:
        name: The browser's name for the file.
        size: Its size in bytes.

    Raises:
        DataError: Its type cannot hold rows, it is empty or too large, or the disk is full.
    """
    shown = visible(name.replace("\\", "/").rsplit("/", 1)[-1])
    shown = shown if len(shown) <= 120 else f"{shown[:100]}…{shown[-16:]}"
    if _suffix(shown) is None:
        raise DataError(
            t("{name}: unsupported file type.", name=shown),
            fix=t("Expected files ending in {names}.", names=" ".join((*SUFFIXES, ".gz", ".zip"))),
            code="E116",
        )
    if size < 1:
        raise DataError(t("{name}: the file is empty (0 bytes).", name=shown), code="E101")
    for upload in _pending():
        if (upload.name, upload.size, upload.done) == (shown, size, False):
            return upload
    _room_for(shown, size)
    upload = Upload(secrets.token_hex(12), shown, size, created=time.time())
    upload.folder.mkdir(parents=True)
    _part(upload).touch()
    _write(upload)
    return upload


def show_upload(upload_id: str) -> Upload:
    """Return an upload and its progress, which is taken from the staged file itself.

    Raises:
        UnknownName: There is no such upload.
    """
    if ID.fullmatch(upload_id):
        with contextlib.suppress(OSError, ValueError, TypeError):
            upload = Upload(**json.loads((_root() / upload_id / "upload.json").read_text()))
            if not upload.done:
                upload.received = _part(upload).stat().st_size
            return upload
    raise UnknownName(
        t("Upload not found; it may have been cancelled."), fix=t("Choose the file again.")
    )


def receive_upload(upload_id: str, start: int, chunks: Iterable[bytes]) -> Upload:
    """Accept the bytes from ``start`` on; bytes that have already arrived are skipped.

    Args:
        upload_id: The upload.
        start: Position of the first byte, at most ``received``.
        chunks: The bytes.

    Raises:
        DataError: ``start`` leaves a gap (code ``conflict``, with ``received``), more bytes arrive
            than were announced, the disk is full, or the content is rejected.
    """
    upload = show_upload(upload_id)
    with _alone(upload):
        upload = show_upload(upload_id)
        if upload.done:
            return upload
        if start > upload.received:
            raise DataError(
                t("{received} bytes were received, so the next byte cannot be {start}.",
                  received=f"{upload.received:,}", start=f"{start:,}"),
                fix=t("Resume where it stopped."),
                code="conflict",
                received=upload.received,
            )  # fmt: skip
        _append(upload, start, chunks)
        if upload.received == upload.size:
            _finish(upload)
    return upload


def paste_upload(text: str) -> Upload:
    """Accept rows that were pasted as text.

    Raises:
        DataError: It is empty or too long.
    """
    data = text.strip().encode("utf-8", "surrogatepass")
    if not data:
        raise DataError(t("Nothing was pasted."), fix=t("Paste rows, one JSON object per line."))
    if len(data) > MAX_PASTED:
        raise DataError(
            t("The pasted text is larger than {limit}.", limit=env.human_bytes(MAX_PASTED)),
            fix=t("Save it as a file and add the file."),
        )
    suffix = ".json" if data[:1] == b"[" else ".jsonl" if data[:1] == b"{" else ".txt"
    if suffix == ".txt" and b"," in data.split(b"\n", 1)[0]:
        suffix = ".csv"
    upload = begin_upload(f"pasted{suffix}", len(data) + 1)
    return receive_upload(upload.id, 0, [data + b"\n"])


def discard_upload(upload_id: str) -> None:
    """Discard an upload and its bytes.

    Raises:
        UnknownName: There is no such upload.
    """
    shutil.rmtree(show_upload(upload_id).folder, ignore_errors=True)


def upload_limit() -> int:
    """The maximum size of an uploaded file, in bytes."""
    return int(os.environ.get(UPLOAD_LIMIT_VARIABLE) or prefs.get(PREFERENCE) or MAX_BYTES)


def set_upload_limit(size: int | None) -> None:
    """Store another limit; None restores the default. TUNERY_MAX_UPLOAD_BYTES overrides it."""
    prefs.set(PREFERENCE, size)


def _append(upload: Upload, start: int, chunks: Iterable[bytes]) -> None:
    skip = upload.received - start
    try:
        with _part(upload).open("ab") as out:
            for chunk in chunks:
                piece = chunk[skip:] if skip else chunk
                skip = max(0, skip - len(chunk))
                if upload.received + len(piece) > upload.size:
                    raise DataError(
                        t("Received more than the announced {size} bytes.", size=upload.size),
                        fix=t("Choose the file again."),
                    )
                out.write(piece)
                upload.received += len(piece)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise DataError(
            t("The disk at {place} is full ({free} free).", place=_root(),
              free=env.human_bytes(env.free_bytes(_root()))),
            fix=t("Free some space and resume; the upload so far is kept."),
            code="disk_full",
        ) from error  # fmt: skip


def _finish(upload: Upload) -> None:
    """Move the complete file into place; rejected content is deleted."""
    staging = upload.folder / ".files"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    suffix = _suffix(upload.name)
    assert suffix is not None
    try:
        if suffix == ".zip":
            _, upload.left_out = unpack(_part(upload), staging)
            _part(upload).unlink()
        else:
            _part(upload).replace(staging / f"{_readable(upload.name, suffix)}{suffix}")
    except DataError:
        shutil.rmtree(upload.folder, ignore_errors=True)
        raise
    staging.replace(upload.folder / "files")
    upload.done = True
    _write(upload)


def _suffix(name: str) -> str | None:
    """``.jsonl``, ``.csv.gz``, ``.zip``; None if the type holds no rows."""
    lower = name.lower()
    if lower.endswith(".zip"):
        return ".zip"
    kind = suffix_of(Path(lower))
    if kind not in SUFFIXES or lower == REGISTRY:
        return None
    return f"{kind}.gz" if lower.endswith(".gz") else kind


def stem(name: str) -> str:
    """A dataset name from a file name: lower-case letters of any script, digits and dashes."""
    composed = unicodedata.normalize("NFC", name.split(".")[0])
    made = re.sub(r"[\W_]+", "-", composed).strip("-").lower()[:40].rstrip("-")
    return made or "rows"


def _readable(name: str, suffix: str) -> str:
    """The stem of a file name as people know it, with letters, digits and plain signs only."""
    composed = unicodedata.normalize("NFC", name)[: -len(suffix)]
    kept = "".join(
        each if each in " _()-" or unicodedata.category(each)[0] in "LNM" else "-"
        for each in composed
    )
    whole = kept.encode("utf-8")[:MAX_NAME_BYTES].decode("utf-8", "ignore").strip(" -")
    return whole or "rows"


def suggested_name(upload: Upload) -> str:
    """A suggested name for a dataset from this file."""
    return stem(upload.name)


def _room_for(name: str, size: int) -> None:
    limit = upload_limit()
    if size > limit:
        raise DataError(
            t("{name} is {size}; the limit is {limit}.", name=name,
              size=env.human_bytes(size), limit=env.human_bytes(limit)),
            fix=t("Copy it to this machine and add it by its path."),
            code="too_large",
        )  # fmt: skip
    announced = sum(upload.size - upload.received for upload in _pending() if not upload.done)
    free = env.free_bytes(_root()) - announced - FLOOR_BYTES
    if size > free:
        raise DataError(
            t("{name} is {size}, but only {free} is free at {place} ({floor} is reserved).",
              name=name, size=env.human_bytes(size), free=env.human_bytes(max(0, free)),
              place=env.datasets_dir(), floor=env.human_bytes(FLOOR_BYTES)),
            fix=t("Free some space, or set TUNERY_HOME to another disk."),
            code="disk_full",
        )  # fmt: skip


def _pending() -> list[Upload]:
    """Uploads that exist; those left alone for a week are deleted."""
    found: list[Upload] = []
    for folder in sorted(_root().iterdir()) if _root().is_dir() else ():
        try:
            upload = show_upload(folder.name)
        except UnknownName:
            continue
        if time.time() - upload.created > KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            found.append(upload)
    return found


def _root() -> Path:
    return env.datasets_dir() / "uploads"


def _part(upload: Upload) -> Path:
    return upload.folder / "content.part"


@contextlib.contextmanager
def _alone(upload: Upload) -> Generator[None]:
    with (upload.folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                t("Another tab is already uploading this file."),
                fix=t("Wait for that upload to finish."),
                code="busy",
            ) from error
        yield


def _write(upload: Upload) -> None:
    staging = upload.folder / ".upload.json"
    staging.write_text(json.dumps(asdict(upload)), encoding="utf-8")
    staging.replace(upload.folder / "upload.json")
