"""A dataset: its files and how to read them."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunery import env
from tunery.data.problems import Problem
from tunery.i18n import t

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt")
BUCKET = re.compile(r"(s3|gs|gcs)://[A-Za-z0-9][\w.-]*($|[/:])")
"""The start of a cloud storage address: scheme and bucket."""
REGISTRY = "dataset_info.json"
NOT_ROWS = frozenset(
    {
        *(REGISTRY, "dataset_infos.json", "dataset_dict.json", "state.json"),
        *("config.json", "license.txt"),
    }
)
"""Files that describe a dataset or repository and contain no rows."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: its files and how to read them.

    Args:
        name: The name as the user wrote it.
        source: builtin, added, catalog, file, folder, hub or cloud.
        files: Local files, in reading order.
        names: The names of these files in messages.
        origin: Where the files come from, for hub and cloud.
        format: Format of the rows if it is known.
        columns: Our field name -> column in the data.
        tags: ShareGPT tags of a catalog entry.
        role_map: Role in the data -> our role.
        ranking: Whether its catalog entry says that rows are preference pairs.
        num_samples: Number of rows to sample, from its catalog entry.
        split: The requested split of a folder, hub or cloud dataset.
        subset: Configuration of a hub dataset.
        folder: Folder inside a hub dataset.
        revision: Commit or branch of a hub dataset.
        description: One line for lists.
        reading: ``data`` settings it was added with; a run's own settings override them.
        sha256: SHA-256 of the content at the time it was added.
        problems: Problems found so far.
    """

    name: str
    source: str
    files: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    origin: str | None = None
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    role_map: Mapping[str, str] = field(default_factory=dict[str, str])
    ranking: bool = False
    num_samples: int | None = None
    split: str | None = None
    subset: str | None = None
    folder: str | None = None
    revision: str | None = None
    description: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sha256: str | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def is_remote(self) -> bool:
        """Whether its files must be downloaded first."""
        return self.origin is not None and not self.files

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``tunery data list --json``."""
        return {
            "name": self.name,
            "source": self.source,
            "format": self.format,
            "files": [str(path) for path in self.files],
            "origin": self.origin,
            "ranking": self.ranking,
            "description": self.description,
            "ok": all(problem.severity != "stop" for problem in self.problems),
        }


def suffix_of(path: Path) -> str:
    """``.jsonl`` for ``rows.jsonl`` and ``rows.jsonl.gz`` alike, in lower case."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def kind_of(path: Path) -> str:
    """The suffix that identifies a file's type; JSON and JSON Lines count as one."""
    suffix = suffix_of(path)
    return ".jsonl" if suffix in (".json", ".ndjson") else suffix


def registry_text(file: Path) -> str:
    """The text of a registry file.

    Raises:
        OSError: It cannot be read, or is a pipe, socket or device.
        UnicodeDecodeError: It is not UTF-8.
    """
    if env.is_special(file):
        raise OSError(errno.EINVAL, t("a pipe, socket or device"))
    return file.read_text(encoding="utf-8-sig")
