"""A local folder as a dataset: one split, files of one type.

``folder`` selects the training rows, ``folder:validation`` another split, and ``folder:all`` every
file. Folders written by ``save_to_disk`` of Hugging Face datasets list their own files and splits.
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
from tunery.data.problems import enumerated
from tunery.data.splits import chosen_splits, divided, split_problems
from tunery.errors import DataError
from tunery.i18n import t
from tunery.runs import folder as run_folder
from tunery.types import is_list, is_object

SAVED_SPLITS = "dataset_dict.json"
SAVED = "state.json"


def located(name: str) -> tuple[Path, str | None] | None:
    """The local path that a name refers to, and the split that it selects.

    Args:
        name: Such as ``rows.jsonl``, ``folder`` or ``folder:validation``.

    Returns:
        Path and split (None if not given), or None if there is no such path.
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
        name: The name as the user wrote it.
        path: The folder.
        split: The requested split; None means the training rows.

    Raises:
        DataError: The folder cannot be read, has no data files (E196), files of several types
            (E197), or no such split (E198).
    """
    own = name.removesuffix(f":{split}") if split else name
    if (runs := run_folder.names_in(path)) or run_folder.is_run(path):
        raise _of_runs(name, runs)
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
    problems = split_problems(by_split, own, chosen, split)
    names = tuple(str(Path(own) / file.relative_to(path)) for file in files)
    return Dataset(name, "folder", tuple(files), names, split=split, problems=problems)


def _by_names(path: Path) -> dict[str, list[Path]]:
    """All data files in the folder, by the split named in their path; hidden files are skipped."""
    files = sorted(
        str(file.relative_to(path))
        for file in path.rglob("*")
        if suffix_of(file) in SUFFIXES and file.name not in NOT_ROWS
    )
    shown = [file for file in files if not any(p.startswith(".") for p in Path(file).parts)]
    return {split: [path / file for file in files] for split, files in divided(shown).items()}


def _saved(path: Path) -> dict[str, list[Path]] | None:
    """The files listed by ``save_to_disk``, by split; None for any other folder.

    Other Arrow files in such a folder are caches of ``map`` and ``filter``.
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


def _of_runs(name: str, runs: Sequence[str]) -> DataError:
    """The error for the folder of a run, or a folder of runs, whose files are no rows."""
    fix = t("Choose a dataset: tunery data list")
    if not runs:
        return DataError(
            t("{name}: this is the folder of a run, not data.", name=name), fix=fix, code="E196"
        )
    return DataError(
        t("{name}: this folder holds runs, not data: {runs}.", name=name, runs=enumerated(runs)),
        fix=fix,
        code="E196",
    )


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
