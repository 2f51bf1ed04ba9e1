"""Zip archives of rows, extracted member by member within limits; nothing leaves the folder."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tunery.data.dataset import REGISTRY, SUFFIXES
from tunery.data.problems import visible
from tunery.data.sources.probe import MAX_RATIO, RATIO_FREE_BYTES, suffix_of
from tunery.env import free_bytes, human_bytes
from tunery.errors import DataError
from tunery.i18n import t

MAX_MEMBERS = 10_000
MAX_BYTES = 20 * 1024**3
BLOCK_BYTES = 1 << 20
MAX_NAME_BYTES = 255  # limit of common file systems
BAD_NAMES = {"con", "prn", "aux", "nul"}


def unpack(archive: Path, folder: Path) -> tuple[list[Path], int]:
    """Extract the row files of a zip archive into a folder.

    Args:
        archive: The zip file.
        folder: An empty folder of its own.

    Returns:
        The extracted files, and how many members were skipped because they hold no rows.

    Raises:
        DataError: E160 a member's path leaves the archive, is a link or occurs twice; E161 too
            many, too large or too highly compressed; E130 damaged. Nothing is kept then.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _judge(members, archive, folder)
            wanted = [member for member in members if _is_rows(member)]
            written = [0]
            found = [_member(opened, member, folder, archive, written) for member in wanted]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            t("The zip archive is damaged or locked: {why}.", why=visible(str(error), 80)),
            fix=t("Create it again without a password."),
            code="E130",
        ) from error
    if not found:
        raise DataError(
            t("The zip archive contains no data files."),
            fix=t("Expected files ending in {names}.", names=" ".join(SUFFIXES)),
            code="E196",
        )
    left_out = sum(not member.is_dir() for member in members) - len(wanted)
    return found, left_out


def _judge(members: list[zipfile.ZipInfo], archive: Path, folder: Path) -> None:
    """Reject an archive by its table of contents, before a byte is written."""
    if len(members) > MAX_MEMBERS:
        raise _too_much(
            t("The archive has {count} files; the limit is {limit}.",
              count=f"{len(members):,}", limit=f"{MAX_MEMBERS:,}")
        )  # fmt: skip
    seen: set[str] = set()
    plain = {_folded(member) for member in members if not member.is_dir()}
    end = 0
    for member in sorted(members, key=lambda each: each.header_offset):
        name = member.filename
        path = PurePosixPath(name.replace("\\", "/"))
        stems = {part.split(".")[0].casefold() for part in path.parts}
        if (
            path.is_absolute()
            or ".." in path.parts
            or any(":" in part or "\0" in part for part in path.parts)
            or stems & BAD_NAMES
        ):
            raise _unsafe(t("the path {name} points outside the archive", name=visible(name, 80)))
        mode = member.external_attr >> 16
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(t("{name} is a link or a device", name=visible(name, 80)))
        if any(len(part.encode("utf-8", "replace")) > MAX_NAME_BYTES for part in path.parts):
            raise _unsafe(
                t("a part of the name {name} is longer than {limit} bytes",
                  name=visible(name, 80), limit=MAX_NAME_BYTES)
            )  # fmt: skip
        if any(str(parent).casefold() in plain for parent in path.parents):
            raise _unsafe(
                t("{name} is inside another entry that is a file",
                  name=visible(name, 80))
            )  # fmt: skip
        folded = _folded(member)
        if folded in seen:
            raise _unsafe(t("{name} appears twice in the archive", name=visible(name, 80)))
        seen.add(folded)
        if member.header_offset < end:
            raise _unsafe(t("{name} overlaps another file", name=visible(name, 80)))
        end = member.header_offset + member.compress_size
    total = sum(member.file_size for member in members if _is_rows(member))
    if total > MAX_BYTES:
        raise _too_much(
            t("The archive would unpack to {size}; the limit is {limit}.",
              size=human_bytes(total), limit=human_bytes(MAX_BYTES))
        )  # fmt: skip
    free = free_bytes(folder)
    if total > free:
        raise DataError(
            t("Not enough space: unpacked it needs {size}, but only {free} is free.",
              size=human_bytes(total), free=human_bytes(free)),
            fix=t("Free some space, or set TUNERY_HOME to another disk."),
            code="disk_full",
        )  # fmt: skip


def _folded(member: zipfile.ZipInfo) -> str:
    """The path of a member as a case-insensitive file system sees it."""
    return str(PurePosixPath(member.filename.replace("\\", "/"))).casefold()


def _is_rows(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    rows = suffix_of(Path(path.name)) in SUFFIXES or path.name == REGISTRY
    return rows and not hidden and not member.is_dir()


def _member(
    opened: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    folder: Path,
    archive: Path,
    written: list[int],
) -> Path:
    """Extract one member as a stream, counting the actual bytes."""
    target = folder / PurePosixPath(member.filename.replace("\\", "/"))
    if not target.resolve().is_relative_to(folder.resolve()):
        raise _unsafe(
            t("the path {name} points outside the archive", name=visible(member.filename, 80))
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    most = max(RATIO_FREE_BYTES, archive.stat().st_size * MAX_RATIO)
    own = max(RATIO_FREE_BYTES, member.compress_size * MAX_RATIO)
    size = 0
    with opened.open(member) as source, target.open("xb") as out:
        while block := source.read(BLOCK_BYTES):
            size += len(block)
            written[0] += len(block)
            if size > own or written[0] > min(most, MAX_BYTES):
                raise _too_much(
                    t("{name} expands more than {ratio}:1.",
                      name=visible(member.filename, 80), ratio=MAX_RATIO)
                )  # fmt: skip
            out.write(block)
    return target


def _unsafe(what: str) -> DataError:
    return DataError(
        t("The zip archive was rejected: {what}.", what=what),
        fix=t("Create an archive that contains only regular files."),
        code="E160",
    )


def _too_much(what: str) -> DataError:
    return DataError(
        what, fix=t("If you trust it, unpack it yourself and use the folder."), code="E161"
    )
