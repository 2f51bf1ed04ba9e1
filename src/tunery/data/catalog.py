"""Find datasets by name: built in, added, in a LLaMA-Factory catalog, by path, on a hub or cloud.

``find`` downloads nothing: a dataset on a hub or in cloud storage has no files until
``sources.remote.fetch`` downloads them.
"""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunery import env
from tunery.commands import quoted
from tunery.data.dataset import BUCKET, REGISTRY, SUFFIXES, Dataset, suffix_of
from tunery.data.folders import folder, located
from tunery.data.problems import Problem, say, visible
from tunery.data.registered import registered
from tunery.data.splits import ALL, SPLITS, canonical
from tunery.errors import ConfigError, DataError, UnknownName, did_you_mean
from tunery.i18n import joined, t

BUILTIN_DIR = Path(__file__).parent / "builtin"
BUILTIN: dict[str, tuple[str, str]] = {
    "identity": (
        "openai",
        "Who the model is: {{name}}, made by {{author}}; half English, half Chinese",
    ),
    "instructions": ("alpaca", "Varied small tasks with short answers, English and Chinese"),
    "text": ("text", "Short paragraphs for continued pretraining, English and Chinese"),
    "general": ("openai", "General questions: replay prompts and the forgetting probe"),
    "preferences": (
        "preference",
        "Pairs: short, correct answers preferred over evasive or wrong ones, English and Chinese",
    ),
    "feedback": ("unpaired", "Single answers marked good or bad, English and Chinese"),
}
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?(@[\w.-]+)?")
"""``owner/name``, the form of a dataset ID on the hub; it may also be a path."""
CLOUD = ("s3://", "gs://", "gcs://")
MOST_COMPARED = 64 << 20
"""Bytes of the largest file that is compared with a dataset of the same name."""
MAX_TIMES = 1000
"""Maximum repeats of a dataset's rows per epoch; for more, train for more epochs."""
ELSEWHERE = ("hf:", "ms:", "s3:", "gs:", "gcs:", "http:", "https:")
"""Prefixes of names that are not local paths, supported or not."""


def find(
    name: str,
    *,
    catalog: Path | None = None,
    fmt: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Find a dataset by name, path or address.

    Args:
        name: A listed name, a path, ``hf:owner/name``, ``s3://...``.
        catalog: Folder with a LLaMA-Factory ``dataset_info.json``.
        fmt: Format of the rows; overrides the catalog's.
        columns: Our field name -> column in the data; each overrides the catalog's.

    Raises:
        UnknownName: There is no such dataset; the error suggests the closest name.
        DataError: The name or the path cannot be a dataset.
        ConfigError: The catalog cannot be read.
    """
    dataset = _find(name, catalog)
    if fmt is not None:
        dataset = replace(dataset, format=fmt)
    if columns:
        dataset = replace(dataset, columns={**dataset.columns, **columns})
    return dataset


def weight(name: str) -> tuple[str, int]:
    """Split ``NAME*2`` into the name and the number of repeats (1 if there is none).

    Raises:
        ConfigError: The text after the star is not a whole number from 1 to ``MAX_TIMES``.
    """
    base, star, written = name.rpartition("*")
    if not star:
        return name, 1
    times = written.strip()
    if not times.isdecimal() or not 1 <= int(times[:10]) <= MAX_TIMES or len(times) > 10:
        raise ConfigError(
            t(
                "{name}: expected a whole number from 1 to {limit:,} after *, got {times}.",
                name=visible(name, 60),
                limit=MAX_TIMES,
                times=repr(visible(written, 30)),
            ),
            fix=t("Write {base}*2 to use its rows twice per epoch.", base=visible(base, 40)),
        )
    return base.strip(), int(times)


def list_datasets(catalog: Path | None = None) -> list[Dataset]:
    """All named datasets: built in, added, and listed in the catalog folder.

    Raises:
        ConfigError: The catalog cannot be read.
        DataError: The list of added datasets is damaged.
    """
    found = [_builtin(name) for name in BUILTIN]
    found += [_added(name, entry) for name, entry in registered().items()]
    if catalog is not None:
        from tunery.data.llamafactory import read_registry

        found += read_registry(catalog)
    return found


def _find(name: str, catalog: Path | None) -> Dataset:
    if not name.strip():
        raise DataError(t("A dataset name is empty."), fix=t("Choose a dataset: tunery data list"))
    if not _is_unicode(name):
        raise DataError(
            t("{name}: the name is not valid Unicode (half of a character).", name=visible(name)),
            fix=t("Write it again, or rename a file whose name is not UTF-8."),
        )
    if name.startswith("hf:"):
        return hub(name)
    if name.startswith("ms:"):
        raise DataError(
            t("{name}: ModelScope datasets are not supported.", name=name),
            fix=t("Download its files and use their folder."),
        )
    if name.startswith(CLOUD):
        return _cloud(name)
    if name.startswith(("http://", "https://")):
        raise DataError(
            t("{name}: reading rows from a web address is not supported.", name=name),
            fix=t("Download the file and use its path."),
        )
    if catalog is not None:
        from tunery.data.llamafactory import read_registry

        for dataset in read_registry(catalog):
            if dataset.name == name:
                return dataset
    if name in BUILTIN:
        return _with_shadow_warning(_builtin(name))
    added = registered()
    if name in added:
        return _with_shadow_warning(_added(name, added[name]))
    head, _, split = name.rpartition(":")
    if head in added and (place := located(f"{added[head]['path']}:{split}")) is not None:
        return _added(name, {**added[head], "path": f"{place[0]}:{split}", "sha256": None})
    if (place := located(name)) is not None:
        return _by_path(name, *place)
    raise _unknown(name, catalog)


def _is_unicode(name: str) -> bool:
    """Whether a name has no lone surrogate, which a settings file cannot store."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _with_shadow_warning(dataset: Dataset) -> Dataset:
    """Warn (W728) if the working folder has a dataset of the same name, which is not used."""
    name = dataset.name
    from tunery.data.llamafactory import is_registry, read_registry

    other = fix = None
    try:
        if is_registry(Path()) and any(each.name == name for each in read_registry(Path())):
            other = REGISTRY
            fix = say("To use the one listed in {file}, add --data.catalog .", file=REGISTRY)
    except ConfigError:
        pass  # a broken list cannot list a dataset of this name
    names = (name, *(name + suffix for suffix in SUFFIXES))
    found = next((each for each in names if Path(each).exists()), "")
    if other is None and found and not _is_copy(dataset, Path(found)):
        other = found
        fix = say("To use the one in this folder, write ./{file}.", file=found)
    if other is None or fix is None:
        return dataset
    places = {"name": name, "other": other}
    what = (
        say("the built-in dataset {name} is used, not {other} in this folder", **places)
        if dataset.source == "builtin"
        else say("the added dataset {name} is used, not {other} in this folder", **places)
    )
    return replace(dataset, problems=(*dataset.problems, Problem("W728", name, what, fix)))


def _is_copy(dataset: Dataset, other: Path) -> bool:
    """Whether a file holds the same bytes as a dataset; a large one is not read to find out."""
    if len(dataset.files) != 1 or not other.is_file():
        return False
    (mine,) = dataset.files
    try:
        if other.samefile(mine):
            return True
        size = mine.stat().st_size
        return size == other.stat().st_size <= MOST_COMPARED and filecmp.cmp(mine, other, False)
    except OSError:
        return False


def _builtin(name: str) -> Dataset:
    format, description = BUILTIN[name]
    path = BUILTIN_DIR / f"{name}.jsonl"
    return Dataset(name, "builtin", (path,), (name,), format=format, description=description)


def _added(name: str, entry: Mapping[str, Any]) -> Dataset:
    where = str(entry["path"])
    reading = dict(entry.get("reading") or {})
    if where.startswith(("hf:", *CLOUD)):
        dataset = _find(where, None)
    elif (place := located(where)) is not None and place[0].exists():
        dataset = _by_path(where, *place)
    else:
        problem = Problem(
            "E191",
            where,
            say("the file that was added as {name} no longer exists", name=name),
            say("Restore the file, or: tunery data remove {name}", name=quoted(name)),
        )
        return Dataset(name, "added", problems=(problem,), description=where)
    return replace(
        dataset,
        name=name,
        source="added" if dataset.origin is None else dataset.source,
        format=reading.pop("format", None) or dataset.format,
        columns={**dataset.columns, **reading.pop("columns", {})},
        role_map={**dataset.role_map, **reading.pop("role_map", {})},
        tags={**dataset.tags, **reading.pop("tags", {})},
        reading=reading,
        sha256=entry.get("sha256"),
        description=where,
    )


def _by_path(name: str, path: Path, split: str | None = None) -> Dataset:
    """Find a dataset by its path; files in Tunery's own folder are named relative to it."""
    found = _at(name, path, split)
    if not path.is_relative_to(env.datasets_dir()):
        return found
    own = path if path.is_dir() else path.parent
    return replace(found, names=tuple(str(file.relative_to(own)) for file in found.files))


def _at(name: str, path: Path, split: str | None) -> Dataset:
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise DataError(
            t("{name}: {strerror}.", name=name, strerror=error.strerror), fix=t("Check the path.")
        ) from error
    if is_folder:
        return folder(name, path, split)
    from tunery.data.llamafactory import is_registry, read_registry

    listed = is_registry(path.parent)
    if path.name == REGISTRY:
        raise DataError(
            t("{name} is a list of datasets, not a dataset.", name=name)
            if listed
            else t("{name} describes a dataset and contains no rows.", name=name),
            fix=t("Use the name of one of them and add --data.catalog {parent}", parent=path.parent)
            if listed
            else t("Use its folder: {folder}", folder=path.parent),
        )
    if not listed:
        return Dataset(name, "file", (path,), (name,))
    try:
        entries = read_registry(path.parent)
    except ConfigError as error:
        ignored = Problem(
            "W727",
            name,
            say(
                "{registry} in the same folder is not used: {why}",
                registry=REGISTRY,
                why=str(error),
            ),
            say("Correct the entry that says how to read these rows."),
        )
        return Dataset(name, "file", (path,), (name,), problems=(ignored,))
    for dataset in entries:
        if dataset.files and dataset.files[0].absolute() == path.absolute():
            return replace(dataset, name=name, names=(name,))
    return Dataset(name, "file", (path,), (name,))


def hub(name: str) -> Dataset:
    """Parse ``hf:owner/name[:subset][@split][#revision]``.

    Raises:
        DataError: The name does not have this form.
    """
    rest, _, revision = name.removeprefix("hf:").partition("#")
    rest, _, split = rest.partition("@")
    repo, _, subset = rest.partition(":")
    if not repo or repo.count("/") > 1 or repo.startswith("/") or repo.endswith("/"):
        raise DataError(
            t("{name}: not a hub dataset.", name=name),
            fix=t("Write hf:owner/name, hf:owner/name:subset@split."),
        )
    return Dataset(
        name,
        "hub",
        origin=repo,
        subset=subset or None,
        split=split or None,
        revision=revision or None,
    )


def _cloud(name: str) -> Dataset:
    """Parse ``s3://bucket/path[:split]``.

    Raises:
        DataError: The bucket is missing or its name is not valid.
    """
    if not BUCKET.match(name):
        raise DataError(
            t("{name}: the bucket is missing or its name is not valid.", name=name),
            fix=t("Write {scheme}://BUCKET/PATH.", scheme=name.partition(":")[0]),
        )
    head, _, split = name.rpartition(":")
    if split == ALL or canonical(split) in SPLITS:
        return Dataset(name, "cloud", origin=head, split=split)
    return Dataset(name, "cloud", origin=name)


def _unknown(name: str, catalog: Path | None) -> UnknownName:
    known = [dataset.name for dataset in list_datasets(catalog)]
    near = did_you_mean(name, known)
    looks_like_path = "/" in name or suffix_of(Path(name)) in SUFFIXES
    if HUB_ID.fullmatch(name) and suffix_of(Path(name)) not in SUFFIXES:
        return UnknownName(
            t("Dataset {name!r}: no such file.", name=name),
            fix=t("To use a dataset from the Hugging Face Hub, write hf:{name}.", name=name),
        )
    if looks_like_path and not near:
        parent = env.expanded(name).parent
        here = [file.name for file in parent.iterdir()] if _listable(parent) else []
        near = did_you_mean(Path(name).name, here)
        return UnknownName(
            t("Dataset {name!r}: no such file.", name=name),
            fix=near or t("Check the path; it is used exactly as written."),
        )
    listed = t(
        "Available: {names}; or use a file, a folder, or hf:owner/name.",
        names=", ".join(known[:30]),
    )
    return UnknownName(t("Dataset {name!r} not found.", name=name), fix=joined(near, listed))


def _listable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)


__all__ = ["BUILTIN", "Dataset", "find", "hub", "list_datasets", "located", "weight"]
