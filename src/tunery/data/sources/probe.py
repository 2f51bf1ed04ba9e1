"""Detect the type of a file from its first bytes, and reject files that are not data."""

from __future__ import annotations

import codecs
import errno
import gzip
import hashlib
import os
import re
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

from tunery import env
from tunery.data.problems import NOTHING, FileProblem, Phrase, Problem, say
from tunery.data.sources.base import ReadOptions
from tunery.data.sources.charset import wrong_encoding
from tunery.data.sources.jsonkind import json_kind
from tunery.data.sources.zeros import content_end, copy_start, ends_in_zeros
from tunery.env import human_bytes
from tunery.errors import ConfigError
from tunery.i18n import t

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt")
BOMS = (
    (codecs.BOM_UTF32_LE, "UTF-32", "utf-32"),
    (codecs.BOM_UTF32_BE, "UTF-32", "utf-32"),
    (codecs.BOM_UTF16_LE, "UTF-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "UTF-16", "utf-16"),
)
FOREIGN = (
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "zstd content"),
    (b"BZh", "bzip2 content"),
    (b"\xfd7zXZ", "xz content"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"GGUF", "a GGUF model"),
)
UTF8 = ("utf-8", "utf-8-sig", "ascii")
CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0e-\x19\x1c-\x1f\x7f]")
MAX_RATIO = 200
RATIO_FREE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Probed:
    """A file that can be opened.

    Args:
        path: The file to read, in UTF-8 or columnar; may be a copy in the cache.
        kind: Its type, as in ``json_kind``, or ``.parquet`` or ``.arrow``.
        skip: Length of a byte-order mark to skip, in bytes.
        notes: Notes about accepted peculiarities.
    """

    path: Path
    kind: str
    skip: int
    notes: tuple[Problem, ...]


def probe(path: Path, name: str, options: ReadOptions) -> Probed:
    """Inspect a file before reading it.

    Raises:
        FileProblem: The file is empty, not a data file, unreadable, or in another encoding.
        ConfigError: ``data.encoding`` is not a known encoding.
    """
    size = _regular(path, name)
    if size == 0:
        raise _stop(
            name,
            "E101",
            say("the file is empty (0 bytes)"),
            say("Check that the upload completed; expected a JSON array or one object per line."),
        )
    notes: list[Problem] = []
    suffix = suffix_of(path)
    head = _head(path, name)
    if head[:2] == b"\x1f\x8b":
        copy = _decompressed(path, name)
        if path.suffix != ".gz":
            notes.append(
                Problem(
                    "N115",
                    name,
                    say(
                        "gzip content, decompressed {before} to {after}",
                        before=human_bytes(size),
                        after=human_bytes(copy.stat().st_size),
                    ),
                )
            )
        path, head, size = copy, _head(copy, name), copy.stat().st_size
        if not size:
            raise _stop(name, "E101", say("the file is empty (0 bytes)"))
    _check_foreign(head, name, suffix)
    if head[:4] == b"PAR1":
        return Probed(path, ".parquet", 0, tuple(notes))
    if head[:6] == b"ARROW1" or (suffix == ".arrow" and head[:4] == b"\xff\xff\xff\xff"):
        return Probed(path, ".arrow", 0, tuple(notes))
    if suffix in (".parquet", ".arrow"):
        return Probed(path, suffix, 0, tuple(notes))
    if _codec_name(options.encoding) in UTF8 and ends_in_zeros(path) and not _is_wide(head):
        path, head = _without_zeros(path, name, notes)
    path, skip = _utf8(path, name, head, options, notes)
    kind = json_kind(path, name, suffix, skip, options, notes)
    return Probed(path, kind, skip, tuple(notes))


def suffix_of(path: Path) -> str:
    """``.jsonl`` for ``rows.jsonl`` and ``rows.jsonl.gz`` alike, in lower case."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _stop(name: str, code: str, found: Phrase, fix: Phrase = NOTHING) -> FileProblem:
    return FileProblem(Problem(code, name, found, fix))


def _regular(path: Path, name: str) -> int:
    """The size of a file in bytes, after checking that it is regular and readable."""
    try:
        info = path.stat()
    except PermissionError as error:
        raise _denied(path, name) from error
    except OSError as error:
        raise _stop(name, "E191", say("no such file"), say("Check the path.")) from error
    if stat.S_ISFIFO(info.st_mode) or stat.S_ISSOCK(info.st_mode):
        raise _stop(
            name,
            "E192",
            say("a pipe, not a file; rows are read more than once"),
            say("Save its content to a file first."),
        )
    if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        raise _stop(name, "E193", say("a device, not a file"), say("Use a data file."))
    if not os.access(path, os.R_OK):
        raise _denied(path, name)
    return info.st_size


def _denied(path: Path, name: str) -> FileProblem:
    return _stop(
        name,
        "E190",
        say("permission denied for user {user}", user=os.getuid()),
        say("Make it readable: chmod u+r {path}", path=str(path)),
    )


def _head(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except PermissionError as error:
        raise _denied(path, name) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise _stop(name, "E194", say("cannot be read: {why}", why=why)) from error


def _check_foreign(head: bytes, name: str, suffix: str) -> None:
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        size = re.search(rb"\nsize (\d+)", head)
        raise _stop(
            name,
            "E131",
            say(
                "a Git LFS pointer (to {size} bytes)",
                size=f"{int(size[1]):,}" if size else "?",
            ),
            say("Download the file itself: git lfs pull"),
        )
    if head[:2] == b"PK":
        if suffix in (".xlsx", ".xlsm", ".ods"):
            raise _stop(
                name,
                "E116",
                say("a spreadsheet"),
                say("Save it as CSV (UTF-8) and use that file."),
            )
        raise _stop(
            name, "E117", say("a zip archive"), say("Unpack it and use the file or the folder.")
        )
    if re.match(rb"(?i)\s*<(!doctype html|html)", head):
        raise _stop(
            name,
            "E118",
            say("a web page, not data"),
            say("Download the file itself (the raw or download link), not its page."),
        )
    for magic, what in FOREIGN:
        if head.startswith(magic):
            raise _stop(
                name,
                "E119",
                say("{what}, not a data file", what=say(what)),
                say("Expected {kinds}, or gzip of these.", kinds=" ".join(SUFFIXES)),
            )


def _codec_name(encoding: str) -> str:
    """Python's name of an encoding.

    Raises:
        ConfigError: Python does not know the encoding.
    """
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise ConfigError(
            t("data.encoding: Python has no encoding {encoding!r}.", encoding=encoding),
            fix=t("For example utf-8, utf-16, latin-1, gb18030, shift_jis."),
        ) from error


def _is_wide(head: bytes) -> bool:
    """Whether the text is UTF-16 or UTF-32, whose last character may end in a zero byte."""
    return head.startswith(tuple(mark for mark, _, _ in BOMS)) or (
        b"\x00" in head[:2] and head.count(0) < len(head)
    )


def _without_zeros(path: Path, name: str, notes: list[Problem]) -> tuple[Path, bytes]:
    """A cached copy without the zero bytes at the end of the file, and its first bytes."""
    end = content_end(path)
    zeros = path.stat().st_size - end
    if not end:
        raise _stop(
            name,
            "E101",
            say("the file contains only zero bytes ({count})", count=zeros),
            say("Download or export the file again: its content was never written."),
        )
    target = _cached(path, name, "zeros")
    if not target.exists():
        copy_start(path, target, end)
    notes.append(
        Problem(
            "N119",
            name,
            say("ignored {count} zero bytes at the end of the file", count=zeros),
            say("Check that no rows are missing: the file may not have been written completely."),
        )
    )
    return target, _head(target, name)


def _utf8(
    path: Path, name: str, head: bytes, options: ReadOptions, notes: list[Problem]
) -> tuple[Path, int]:
    """The file in UTF-8, and the length of a byte-order mark to skip, in bytes."""
    encoding = _codec_name(options.encoding)
    for mark, what, codec in BOMS:
        if head.startswith(mark) and encoding in UTF8:
            raise _stop(
                name,
                "E111",
                say("{what} (byte-order mark {mark})", what=what, mark=mark.hex(" ").upper()),
                say("Save it as UTF-8, or set --data.encoding {codec}.", codec=codec),
            )
    if encoding not in UTF8:
        return _transcoded(path, name, options.encoding), 0
    if head.startswith(codecs.BOM_UTF8):
        notes.append(Problem("N110", name, say("byte-order mark ignored")))
        return path, 3
    if b"\x00" in head[:256] or _is_binary(head[:256]):
        utf16 = head[1:2] == b"\x00" or head[:1] == b"\x00"
        raise _stop(
            name,
            "E111" if utf16 else "E119",
            say("UTF-16 without a byte-order mark") if utf16 else say("binary content, not text"),
            say("Save it as UTF-8, or set --data.encoding {codec}.", codec="utf-16-le")
            if utf16
            else say("Expected {kinds}, or gzip of these.", kinds=" ".join(SUFFIXES)),
        )
    return path, 0


def _is_binary(start: bytes) -> bool:
    """Whether bytes that are not UTF-8 are no text in any encoding: they have control characters.

    One of them may be in a text by mistake.
    """
    if codecs.getincrementaldecoder("utf-8")("replace").decode(start).count("\ufffd") == 0:
        return False
    return len(CONTROL_BYTES.findall(start)) > max(1, len(start) // 32)


def _cached(path: Path, name: str, purpose: str) -> Path:
    info = path.stat()
    key = f"{path.absolute()}|{info.st_size}|{info.st_mtime_ns}|{purpose}"
    folder = env.cache_dir() / "data"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(name, folder, error) from error
    return folder / hashlib.sha256(key.encode()).hexdigest()[:32]


def _unwritable(name: str, folder: Path, error: OSError) -> FileProblem:
    """E195: a file's decompressed or UTF-8 copy cannot be written to the cache."""
    why = {"why": error.strerror or str(error), "folder": str(folder)}
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        found = say("not enough space for its copy in the cache: {why} ({folder})", **why)
        return _stop(
            name, "E195", found, say("Free some space, or set TUNERY_HOME to another disk.")
        )
    found = say("its copy cannot be written to the cache: {why} ({folder})", **why)
    return _stop(name, "E195", found, say("Set TUNERY_HOME to a writable folder."))


def _decompressed(path: Path, name: str) -> Path:
    """A decompressed copy in the cache; rejected if it expands more than 200:1 beyond 8 MiB."""
    target = _cached(path, name, "gunzip")
    if target.exists():
        return target
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    limit = max(RATIO_FREE_BYTES, path.stat().st_size * MAX_RATIO)
    written = 0
    try:
        with gzip.open(path, "rb") as source, staging.open("wb") as out:
            while block := source.read(1 << 20):
                written += len(block)
                if written > limit:
                    raise _stop(
                        name,
                        "E161",
                        say("the gzip content expands more than {ratio}:1", ratio=MAX_RATIO),
                        say("If you trust it, decompress it yourself and use that file."),
                    )
                out.write(block)
        staging.replace(target)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _stop(
            name,
            "E130",
            say("the gzip content is truncated or damaged: {why}", why=str(error)[:80]),
            say("Download the file again."),
        ) from error
    except OSError as error:
        raise _unwritable(name, target.parent, error) from error
    finally:
        staging.unlink(missing_ok=True)
    return target


def _transcoded(path: Path, name: str, encoding: str) -> Path:
    """A cached UTF-8 copy of a file in another encoding."""
    target = _cached(path, name, encoding)
    if target.exists():
        return target
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with (
            path.open(encoding=encoding, newline="") as source,
            staging.open("w", encoding="utf-8", newline="") as out,
        ):
            while block := source.read(1 << 20):
                out.write(block)
        staging.replace(target)
    except UnicodeError as error:
        raise FileProblem(wrong_encoding(name, path, encoding, str(error)[-80:])) from error
    except OSError as error:
        raise _unwritable(name, target.parent, error) from error
    finally:
        staging.unlink(missing_ok=True)
    return target
