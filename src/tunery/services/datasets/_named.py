"""Operations on named datasets: list, check, add, remove."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunery import atomic, env
from tunery.commands import quoted
from tunery.config.data import DataConfig
from tunery.data import lint
from tunery.data.catalog import BUILTIN, find, list_datasets, located, weight
from tunery.data.content import file_hash
from tunery.data.dataset import Dataset
from tunery.data.example_set import excess
from tunery.data.examples import rows_per_epoch, sampled_by
from tunery.data.lint.report import Report
from tunery.data.lint.words import report_text
from tunery.data.registered import changing, registered
from tunery.data.sources.remote import fetch
from tunery.errors import DataError, unknown_name
from tunery.i18n import t

READING = (
    "format",
    "columns",
    "encoding",
    "header",
    "delimiter",
    "max_record_mb",
    "max_columns",
    "records_at",
    "role_map",
    "parse",
    "coerce",
    "allow_empty",
    "merge_same_role",
)
NAME = re.compile(r"[^\W_][\w.-]{0,80}")
MAX_NAME_BYTES = 200


def listing(catalog: Path | None = None) -> list[dict[str, Any]]:
    """All named datasets, as plain data with their number of rows if it is known."""
    added = registered()
    found: list[dict[str, Any]] = []
    for dataset in list_datasets(catalog):
        rows = added.get(dataset.name, {}).get("rows") if dataset.source == "added" else None
        if dataset.source == "builtin":
            rows = dataset.files[0].read_bytes().count(b"\n")
        found.append({**dataset.as_dict(), "rows": rows})
    return found


def check(
    name: str, config: DataConfig, *, wanted: str | None = None, progress: Any = None
) -> Report:
    """Check one dataset with the settings that a run would read it with.

    Args:
        name: Any name of a dataset; ``NAME*2`` is read as a run does.
        config: How it is read.
        wanted: The row kind that the run's method learns from; None accepts any.
        progress: Called with (rows, bytes, total bytes).

    Raises:
        UnknownName: No such dataset.
        DataError: It cannot be fetched.
    """
    base, times = weight(name)
    dataset = fetch(_found(base, config))
    report = lint.check(dataset, lint.CheckOptions.of(config, progress=progress, wanted=wanted))
    report.tolerated = config.max_bad_share if config.on_bad_rows == "quarantine" else None
    report.per_epoch, report.times = rows_per_epoch(report.good, dataset, config), times
    report.sampled_by = sampled_by(report.good, dataset, config)
    total = report.per_epoch * times
    if total > report.good and (finding := excess(base, report.good, total)) is not None:
        report.add(finding)
    return report


def only_common(reports: Sequence[Report]) -> None:
    """Take back, in the reports of one request, the idle settings that another dataset uses."""
    lint.only_common(reports)


def write_report(reports: Sequence[Report], file: Path) -> None:
    """Write the machine-readable report, atomically; for several datasets, a list.

    Raises:
        DataError: The file cannot be written.
    """
    told = [report.as_dict() for report in reports]
    plain = told[0] if len(told) == 1 else {"datasets": told}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(file, json.dumps(plain, ensure_ascii=False, indent=2) + "\n")
    except OSError as error:
        raise DataError(
            t("{file} cannot be written: {why}.", file=file, why=error.strerror),
            fix=t("Give a file in a writable folder."),
        ) from error


def add(
    name: str,
    path: str,
    config: DataConfig,
    *,
    copy: bool = False,
    made: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    progress: Any = None,
) -> dict[str, Any]:
    """Register a file, folder or hub dataset under a name, after checking it.

    Args:
        name: The name to register.
        path: A path, or ``hf:owner/name``.
        config: How it is read; values that differ from the defaults are recorded.
        copy: Keep a copy under TUNERY_HOME, so that the original may change or be deleted.
        made: How Tunery made the file at ``path``, which it then owns and deletes with the name.
        tags: ShareGPT tags from a catalog entry.
        progress: Called with (rows, bytes, total bytes) while it is checked.

    Returns:
        What was recorded.

    Raises:
        DataError: The name is taken or not valid, or the rows do not pass the checker.
    """
    usable(name)
    _free(name, registered())
    dataset = fetch(_found(path, config))
    if dataset.source not in ("file", "folder", "hub", "cloud", "catalog"):
        raise DataError(
            t("{path} is already a named dataset.", path=path),
            fix=t("Enter a file, a folder or hf:owner/name."),
        )
    if tags:
        dataset = replace(dataset, tags={**dataset.tags, **tags})
    report = passed(dataset, config, progress=progress)
    is_local = dataset.origin is None
    where = str(env.expanded(path).absolute()) if is_local else path
    if copy and is_local:
        where = _copied(name, where)
        dataset = replace(dataset, files=find(where).files)
    entry = {
        "path": where,
        "owned": (copy or made is not None) and is_local,
        "sha256": digest(dataset) if is_local else None,
        "rows": report.rows,
        "added": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "reading": {**_reading(config, report), **({"tags": dict(tags)} if tags else {})},
        **({"made": dict(made)} if made is not None else {}),
    }
    with changing() as entries:
        _free(name, entries)
        entries[name] = entry
    return {"name": name, **entry}


def passed(dataset: Dataset, config: DataConfig, *, progress: Any = None) -> Report:
    """Check a dataset on this machine and return the report.

    Raises:
        DataError: The rows do not pass; the grouped report is the message.
    """
    report = lint.check(dataset, lint.CheckOptions.of(config, progress=progress))
    if not report.ok:
        raise DataError(
            report_text(report, plain=True), code=report.stops[0].code, report=report.as_dict()
        )
    return report


def remove(name: str) -> dict[str, Any]:
    """Unregister a name; only a copy that Tunery made itself is deleted.

    Returns:
        The name, the path it referred to, and whether a copy was deleted.

    Raises:
        DataError: It is built in.
        UnknownName: No such dataset was added.
    """
    with changing() as entries:
        added(name, entries)
        entry = entries.pop(name)
    owned = bool(entry.get("owned"))
    if owned:
        shutil.rmtree(own_folder(name), ignore_errors=True)
    return {"name": name, "path": entry["path"], "deleted": owned}


def added(name: str, entries: Mapping[str, Any]) -> Any:
    """The entry of a name that the user added.

    Raises:
        DataError: It is built in.
        UnknownName: No such dataset was added.
    """
    if name not in entries:
        if name in BUILTIN:
            raise DataError(t("{name} is built in and cannot be removed.", name=name))
        raise unknown_name("dataset", name, entries)
    return entries[name]


def digest(dataset: Dataset) -> str:
    """SHA-256 over the content of a dataset's files."""
    return hashlib.sha256(b"".join(file_hash(path) for path in dataset.files)).hexdigest()


def _found(name: str, config: DataConfig) -> Dataset:
    return find(name, catalog=config.catalog, fmt=config.format, columns=config.columns)


def _free(name: str, entries: Mapping[str, Any]) -> None:
    if name in entries:
        raise DataError(
            t("There is already a dataset {name} ({path}).", name=name, path=entries[name]["path"]),
            fix=t("Choose another name, or first: tunery data remove {name}", name=quoted(name)),
            code="exists",
        )


def usable(name: str) -> None:
    """Check that a name is allowed for a dataset.

    Raises:
        DataError: It is not.
    """
    if name in BUILTIN:
        raise DataError(
            t("{name} is the name of a built-in dataset.", name=name), fix=t("Choose another name.")
        )
    if not NAME.fullmatch(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise DataError(
            t("{name!r} cannot be used as a dataset name.", name=name),
            fix=t("Use letters, digits, dots, dashes and underscores."),
        )


def own_folder(name: str) -> Path:
    """Where Tunery keeps its own copy of a dataset."""
    return env.datasets_dir() / "copies" / name


def _copied(name: str, where: str) -> str:
    """Copy a file or folder; returns its new path, with the requested split."""
    path, split = located(where) or (Path(where), None)
    folder = own_folder(name)
    staging = folder.with_name(f".{name}.{os.getpid()}")
    try:
        staging.mkdir(parents=True)
        if path.is_dir():
            shutil.copytree(path, staging / path.name)
        else:
            shutil.copy2(path, staging / path.name)
        shutil.rmtree(folder, ignore_errors=True)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return str(folder / path.name) + (f":{split}" if split else "")


def _reading(config: DataConfig, report: Report) -> Mapping[str, Any]:
    """The settings that read the rows and differ from the defaults; the format always."""
    chosen = config.model_dump(mode="json", include=set(READING), exclude_defaults=True)
    return {**chosen, "format": report.format}
