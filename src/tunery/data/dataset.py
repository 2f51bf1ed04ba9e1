"""A dataset that was found: its files, and how they are to be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunery.data.problems import Problem

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt")
BUCKET = re.compile(r"(s3|gs|gcs)://[A-Za-z0-9][\w.-]*($|[/:])")
"""How the address of an object store begins: a scheme and a bucket."""
REGISTRY = "dataset_info.json"
NOT_ROWS = frozenset(
    {
        *(REGISTRY, "dataset_infos.json", "dataset_dict.json", "state.json"),
        *("config.json", "license.txt"),
    }
)
"""Files that describe rows or a repository and hold none."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that was found.

    Args:
        name: As the user gave it.
        source: builtin, added, catalog, file, folder, hub or cloud.
        files: Files on this machine, in reading order.
        names: The same files as messages name them.
        origin: Where the files come from, for hub and cloud.
        format: Format of the rows where it is known.
        columns: Ours: theirs.
        tags: ShareGPT tags of a catalog entry.
        role_map: Theirs: ours.
        ranking: Preference pairs, by its catalog entry.
        num_samples: Rows to sample, by its catalog entry.
        split: Split of a hub dataset.
        subset: Configuration of a hub dataset.
        folder: Folder inside a hub dataset.
        revision: Commit or branch of a hub dataset.
        description: One line for lists.
        reading: Settings of ``data`` it was added with; a run's own win.
        sha256: What the file's content was when it was added.
        problems: What is already known to be wrong.
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
        """Whether its files must be fetched first."""
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
