"""A folder of this machine as a dataset: files of one kind, one split of them.

``folder`` means its training rows, ``folder:validation`` for those of another split, and
``folder:all`` for every file. Folders that ``save_to_disk`` of Hugging Face datasets wrote list
their own files and splits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunery import env
from tunery.data.dataset import NOT_ROWS, SUFFIXES, Dataset, kind_of, suffix_of
from tunery.data.llamafactory import is_registry
from tunery.data.splits import chosen_splits, divided, said
from tunery.errors import DataError
from tunery.i18n import t
from tunery.types import is_list, is_object

SAVED_SPLITS = "dataset_dict.json"
SAVED = "state.json"


def located(name: str) -> tuple[Path, str | None] | None:
    """The local path that a name refers to, and the split it selects.

    Args:
        name: ``rows.jsonl``, ``folder`` or ``folder:validation``.

    Returns:
        None if there is no such path.
    """
    path = env.expanded(name)
    try:
        if os.path.lexists(path):
            return path, None
        head, colon, split = name.rpartition(":")
        if colon and head and split and "/" not in split and env.expanded(head).is_dir():
            return env.expanded(head), split
    except (OSError, ValueError):
        pass
    return None


def folder(name: str, path: Path, split: str | None = None) -> Dataset:
    """The files of one split of a folder.

    Args:
        name: As the user gave it.
        path: The folder.
        split: The split asked for; None is the training rows.

    Raises:
        DataError: It holds no files of rows, files of several kinds, or no such split.
    """
    own = name.removesuffix(f":{split}") if split else name
    try:
        by_split = _saved(path) or _by_names(path)
    except OSError as error:
        raise DataError(
            t("{name}: {strerror}.", name=name, strerror=error.strerror),
            fix=t("Check the permissions of the folder."),
        ) from error
    if not by_split:
        raise _without_rows(name, path)
    chosen = chosen_splits(list(by_split), own, split)
    files = [file for each in chosen for file in by_split[each]]
    kinds = sorted({kind_of(file) for file in files})
    if len(kinds) > 1:
        raise _several_kinds(name, path, kinds)
    problems = said(by_split, own, chosen, split)
    names = tuple(str(Path(own) / file.relative_to(path)) for file in files)
    return Dataset(name, "folder", tuple(files), names, split=split, problems=problems)


def _by_names(path: Path) -> dict[str, list[Path]]:
    """All files of rows in the folder, by the split that their path names."""
    files = sorted(
        str(file.relative_to(path))
        for file in path.rglob("*")
        if suffix_of(file) in SUFFIXES and file.name not in NOT_ROWS
    )
    shown = [file for file in files if not any(p.startswith(".") for p in Path(file).parts)]
    return {split: [path / file for file in files] for split, files in divided(shown).items()}


def _saved(path: Path) -> dict[str, list[Path]] | None:
    """The files that ``save_to_disk`` lists, by split; None for any other folder.

    Other Arrow files beside them are caches of ``map`` and ``filter``.
    """
    splits = _object(path / SAVED_SPLITS).get("splits")
    if is_list(splits) and splits:
        found = {str(each): _data_files(path / str(each)) for each in splits}
        return {split: files for split, files in found.items() if files} or None
    files = _data_files(path)
    return {"train": files} if files else None


def _data_files(path: Path) -> list[Path]:
    listed = _object(path / SAVED).get("_data_files")
    names = [each.get("filename") for each in listed if is_object(each)] if is_list(listed) else []
    return [path / Path(name).name for name in names if isinstance(name, str)]


def _object(file: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if is_object(value) else {}


def _without_rows(name: str, path: Path) -> DataError:
    fix = t("Expected files ending in {names}.", names=" ".join(SUFFIXES))
    if is_registry(path):
        fix = t("Use the name of one of its datasets and add --data.catalog {parent}", parent=path)
    return DataError(
        t("{name}: the folder contains no data files.", name=name), fix=fix, code="E196"
    )


def _several_kinds(name: str, path: Path, kinds: Sequence[str]) -> DataError:
    fix = t("Keep one file type per folder, or list the files themselves.")
    if is_registry(path):
        fix = t("Use the name of one of its datasets and add --data.catalog {parent}", parent=path)
    return DataError(
        t(
            "{name}: the folder contains several file types ({names}).",
            name=name,
            names=", ".join(kinds),
        ),
        fix=fix,
        code="E197",
    )
