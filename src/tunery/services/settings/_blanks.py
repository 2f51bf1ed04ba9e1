"""``{{name}}`` placeholders in the rows of the chosen datasets that the user still has to fill in.

A quick scan of the text of files on this machine; the rows themselves are read by the plan, which
rejects placeholders that this scan misses (a table, a dataset that is not downloaded yet).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from tunery.config.config import Config
from tunery.data import catalog
from tunery.data.variables import PLACEHOLDER
from tunery.errors import TuneryError

SCANNED_BYTES = 16 * 2**20
TEXTS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt")


@dataclass(frozen=True, slots=True)
class Blank:
    """One placeholder.

    Args:
        name: The text between the braces.
        dataset: The first dataset that contains it.
        places: How often it occurs there.
        value: The value that will replace it; empty if none was given.
    """

    name: str
    dataset: str
    places: int
    value: str


def of(datasets: list[str], variables: dict[str, str], *, catalog_dir: Path | None) -> list[Blank]:
    """Find the placeholders of datasets, in the order in which they occur."""
    found: dict[str, Blank] = {}
    for written in datasets:
        name = without_weight(written)
        try:
            dataset = catalog.find(name, catalog=catalog_dir)
        except TuneryError:
            continue  # reported at the field of the datasets
        for file in dataset.files:
            for blank, places in _counts(file).items():
                before = found.get(blank)
                found[blank] = Blank(
                    blank,
                    before.dataset if before else name,
                    places + (before.places if before else 0),
                    variables.get(blank, "").strip(),
                )
    return list(found.values())


def accepted(config: Config | None) -> bool:
    """Whether placeholders may be trained on unfilled."""
    return config is not None and "W706" in config.data.accept


def without_weight(written: str) -> str:
    """The name part of ``name*2``."""
    name, star, times = written.rpartition("*")
    return name if star and times.isdigit() else written


def _counts(file: Path) -> dict[str, int]:
    try:
        stat = file.stat()
    except OSError:
        return {}
    if file.suffix.lower() not in TEXTS:
        return {}
    return _count(file, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=64)
def _count(file: Path, changed: int, size: int) -> dict[str, int]:
    del changed, size  # part of the cache key only, so that changed files are read again
    try:
        with file.open("rb") as opened:
            text = opened.read(SCANNED_BYTES).decode("utf-8", "replace")
    except OSError:
        return {}
    counts: dict[str, int] = {}
    for name in PLACEHOLDER.findall(text):
        counts[name] = counts.get(name, 0) + 1
    return counts
