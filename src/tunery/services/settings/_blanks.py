"""``{{name}}`` in the rows of the chosen datasets: what a person still has to fill in.

A quick look at the text of files that are here; the rows themselves are read by the plan, which
refuses blanks that this look does not see (a table, a dataset that is not fetched yet).
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
        name: What stands between the braces.
        dataset: The first dataset that has it.
        places: How often it stands there.
        value: What will be put there; empty while nobody said.
    """

    name: str
    dataset: str
    places: int
    value: str


def of(datasets: list[str], variables: dict[str, str], *, catalog_dir: Path | None) -> list[Blank]:
    """Find the placeholders of datasets, in the order of their places."""
    found: dict[str, Blank] = {}
    for written in datasets:
        name = without_weight(written)
        try:
            dataset = catalog.find(name, catalog=catalog_dir)
        except TuneryError:
            continue  # said under the field of the datasets
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
    """Whether placeholders are to be trained as they stand."""
    return config is not None and "W706" in config.data.accept


def without_weight(written: str) -> str:
    """The name in ``name*2``."""
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
    del changed, size  # they are what makes a cached answer stale
    try:
        with file.open("rb") as opened:
            text = opened.read(SCANNED_BYTES).decode("utf-8", "replace")
    except OSError:
        return {}
    counts: dict[str, int] = {}
    for name in PLACEHOLDER.findall(text):
        counts[name] = counts.get(name, 0) + 1
    return counts
