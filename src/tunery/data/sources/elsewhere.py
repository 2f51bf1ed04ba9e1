"""Find hub datasets that another program downloaded in its cache, without network access.

Two caches are searched: that of huggingface_hub, which stores the files of a repository, and that
of Hugging Face datasets, which stores each split as Arrow files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tunery import env
from tunery.data.dataset import REGISTRY, Dataset
from tunery.data.problems import Problem, say
from tunery.data.splits import canonical
from tunery.models import hubcache
from tunery.types import is_list, is_mapping, is_object

SHARD = re.compile(r"^(.*)-(\d{5})-of-(\d{5})(\.[\w.]+)?$")


def snapshot(dataset: Dataset) -> tuple[Path, list[str]] | None:
    """A repository in huggingface_hub's cache: its folder and the names of its files; or None."""
    folder = hubcache.hub_dir() / f"datasets--{str(dataset.origin).replace('/', '--')}"
    commit = hubcache.commit_of(folder, dataset.revision or "main")
    if commit is None and dataset.revision is None:
        newest = hubcache.snapshots(folder)
        commit = newest[0].name if newest else None
    held = folder / "snapshots" / commit if commit else None
    if held is None or not held.is_dir():
        return None
    present = sorted(str(path.relative_to(held)) for path in held.rglob("*") if path.is_file())
    return held, present


def configs(folder: Path) -> list[Mapping[str, Any]]:
    """The configs in the dataset card of a snapshot; empty if there are none."""
    from huggingface_hub import repocard

    card = folder / "README.md"
    try:
        found: Any = cast(Any, repocard).metadata_load(card) if card.is_file() else None
    except ValueError:
        return []
    listed = found.get("configs") if is_mapping(found) else None
    return [each for each in listed if is_mapping(each)] if is_list(listed) else []


def missing_shards(names: Sequence[str]) -> int:
    """Number of missing shards, according to the names of the others (``-00000-of-00005``)."""
    sets: dict[tuple[str, int], set[int]] = {}
    for name in names:
        found = SHARD.match(name)
        if found is not None:
            key = (found[1] + (found[4] or ""), int(found[3]))
            sets.setdefault(key, set()).add(int(found[2]))
    return sum(total - len(held) for (_, total), held in sets.items())


def prepared(dataset: Dataset) -> Dataset | None:
    """The split as prepared by Hugging Face datasets; None if it is not in its cache."""
    if dataset.revision or dataset.folder:
        return None
    home = os.environ.get("HF_DATASETS_CACHE")
    cache = env.expanded(home) if home else hubcache.hf_home() / "datasets"
    top = cache / str(dataset.origin).replace("/", "___")
    wanted = canonical(dataset.split or "train")
    described = sorted(top.glob(f"*/*/*/{REGISTRY}"), key=lambda path: -path.stat().st_mtime_ns)
    by_config = {file.parent.parent.parent.name: file.parent for file in reversed(described)}
    if dataset.subset:
        folder = by_config.get(dataset.subset)
    else:
        folder = by_config.get("default") or (
            next(iter(by_config.values())) if len(by_config) == 1 else None
        )
    if folder is None:
        return None
    about = _object(folder / REGISTRY)
    splits: Any = about.get("splits")
    names = [str(each) for each in splits] if is_mapping(splits) else []
    split = next((each for each in names if each == dataset.split), None) or next(
        (each for each in names if canonical(each) == wanted), None
    )
    if split is None:
        return None
    pattern = re.compile(rf"(?!cache-).+-{re.escape(split)}(-\d{{5}}-of-\d{{5}})?\.arrow")
    files = sorted(path for path in folder.glob("*.arrow") if pattern.fullmatch(path.name))
    if not files or missing_shards([path.name for path in files]):
        return None
    return from_other_cache(dataset, files, [str(path) for path in files], folder)


def from_other_cache(
    dataset: Dataset, files: Sequence[Path], names: Sequence[str], folder: Path
) -> Dataset:
    """The dataset with files from another program's cache, and a note about it (N154)."""
    note = Problem(
        "N154",
        dataset.name,
        say("read from another program's cache: {folder}", folder=str(folder)),
        say("Changes on the hub since then are seen when online."),
    )
    return replace(
        dataset,
        files=tuple(files),
        names=tuple(names),
        problems=(*dataset.problems, note),
    )


def _object(file: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if is_object(value) else {}
