"""Add a dataset from the page: at once if it is small, in a job otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunery.config.data import DataConfig
from tunery.data import lint
from tunery.data.catalog import find
from tunery.data.lint.report import Report
from tunery.data.sources.remote import fetch
from tunery.errors import DataError
from tunery.i18n import t
from tunery.jobs import start as jobs
from tunery.jobs.process import Handle
from tunery.services.datasets import _copies, _edits, _named, _uploads
from tunery.services.datasets._checks import groups
from tunery.services.datasets._columns import UPLOAD_PREFIX, reading, source_path, suggested_name
from tunery.services.datasets._rows import is_light, located

Progress = Callable[[int, int, int], None]


def add_source(
    source: str,
    name: str = "",
    data: Mapping[str, Any] | None = None,
    *,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Add a source under a name; a version number is appended if the name is taken.

    Args:
        source: ``upload:ID``, ``hf:owner/name`` or a path on this machine.
        name: The dataset's name; by default derived from the source.
        data: How its rows are read: ``format``, ``columns`` ...
        skip_bad: Make a copy without the rows that cannot be used.

    Returns:
        ``{"name", "rows"}``, or ``{"job"}`` if it takes longer.

    Raises:
        DataError: The rows do not pass the checker; ``groups`` lists all problems.
    """
    path = source_path(source)
    name = name.strip() or suggested_name(source, path)
    _named.usable(name)
    config = reading(data)
    dataset = find(path, fmt=config.format, columns=config.columns or None)
    if dataset.is_remote or not is_light(dataset, config):
        arguments = {"source": source, "name": name, "data": dict(data or {}), "skip_bad": skip_bad}
        return {"job": jobs.start("import", arguments, name, network=dataset.is_remote).id}
    return _add(source, path, name, config, skip_bad=skip_bad)


def fetch_source(source: str) -> dict[str, Any]:
    """Download a hub dataset's files, so that they can be inspected.

    Returns:
        ``{"job"}``; its result has ``source``.
    """
    dataset = find(source_path(source))
    if not dataset.is_remote:
        raise DataError(t("{source} is already downloaded.", source=source))
    return {"job": jobs.start("import", {"source": source}, source, network=True).id}


def import_job(arguments: dict[str, Any], handle: Handle) -> dict[str, Any]:
    """The job ``import``: download a source and, if a name is given, check and add it."""
    source, name = str(arguments["source"]), str(arguments.get("name") or "")
    path = source_path(source)
    config = reading(arguments.get("data"))
    handle.progress(0, 0, "", t("Downloading"))
    with handle.interruptible():
        fetch(find(path, fmt=config.format, columns=config.columns or None))
    if not name:
        return {"source": source}

    def progress(rows: int, done: int, total: int) -> None:
        handle.progress(done, total, "bytes", t("Checking"), rows=rows)
        handle.stop_if_asked()

    skip = bool(arguments.get("skip_bad"))
    return _add(source, path, name, config, skip_bad=skip, progress=progress)


def _add(
    source: str,
    path: str,
    name: str,
    config: DataConfig,
    *,
    skip_bad: bool,
    progress: Progress | None = None,
) -> dict[str, Any]:
    name = name if _copies.is_free(name) else _copies.next_version(name)
    dataset = located(path, config)
    report = lint.check(dataset, lint.CheckOptions.of(config, progress=progress))
    if not report.ok:
        if not (skip_bad and report.only_rows):
            raise refused(report)
        saved = _edits.skip_bad_of(dataset, config, name)
    elif source.startswith(UPLOAD_PREFIX):
        saved = _keep_upload(source.removeprefix(UPLOAD_PREFIX), name, config)
    else:
        saved = _named.add(name, path, config)
    if source.startswith(UPLOAD_PREFIX):
        _uploads.discard_upload(source.removeprefix(UPLOAD_PREFIX))
    return {"name": saved["name"], "rows": saved["rows"]}


def refused(report: Report) -> DataError:
    """The error for rows that do not pass: the first problem as text, all of them as data."""
    found = groups(report)
    stops = [group for group in found if group["level"] == "stop"]
    first = stops[0]["examples"][0]
    return DataError(
        t("{place}: {found}.", place=first["place"], found=first["found"]),
        fix=first["fix"],
        code=stops[0]["code"],
        groups=found,
        bad=report.bad,
        rows=report.rows,
        only_rows=bool(report.bad) and report.only_rows,
    )


def _keep_upload(upload_id: str, name: str, config: DataConfig) -> dict[str, Any]:
    """Move an upload into its own folder and register it under a name."""
    upload = _uploads.show_upload(upload_id)
    own = _named.own_folder(name)
    with _copies.staging(name) as folder:
        held = folder / upload.files.name if upload.files.is_file() else folder / "rows"
        if upload.files.is_file():
            shutil.copy2(upload.files, held)
        else:
            shutil.copytree(upload.files, held)
        shutil.rmtree(own, ignore_errors=True)
        folder.replace(own)
    made = {"how": "upload", "from": upload.name}
    try:
        return _named.add(name, str(own / Path(held).name), config, made=made)
    except DataError:
        shutil.rmtree(own, ignore_errors=True)
        raise
