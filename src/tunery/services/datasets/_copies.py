"""Copies of datasets that Tunery makes: JSON Lines in its own folder, written atomically."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunery.config.data import DataConfig
from tunery.data.catalog import BUILTIN, find
from tunery.data.dataset import Dataset
from tunery.data.problems import FileProblem
from tunery.data.registered import changing, registered
from tunery.data.sources.base import Bad
from tunery.errors import DataError
from tunery.i18n import joined, say, t
from tunery.services.datasets import _named
from tunery.services.datasets._rows import Raw, plain

ROWS_FILE = "rows.jsonl"
OF_A_FILE = ("encoding", "header", "delimiter", "records_at")
"""Settings about how a file is written, which no longer apply to a copy of its rows."""
VERSION = re.compile(r"-v\d+$")
Rows = Iterator[str]


def next_version(name: str) -> str:
    """``identity-v2``, or the next number that is not taken."""
    own = Path(name).name.split(".")[0] or "rows" if "/" in name else name
    base = VERSION.sub("", own)
    return next(each for n in itertools.count(2) if is_free(each := f"{base}-v{n}"))


def free_name(name: str) -> str:
    """The name, with a number appended if it is taken."""
    return (
        name
        if is_free(name)
        else next(f"{name}-{n}" for n in range(2, 100_000) if is_free(f"{name}-{n}"))
    )


def is_free(name: str) -> bool:
    """Whether no dataset has this name."""
    return name not in registered() and name not in BUILTIN


def line(values: Any) -> str:
    """A row as one line of JSON."""
    return json.dumps(plain(values), ensure_ascii=False)


def same(raw: Raw) -> str:
    """An unchanged row: byte for byte if it is already one line of JSON."""
    if raw.text is not None and "\n" not in raw.text and "\r" not in raw.text:
        return raw.text
    if isinstance(raw.row, Bad):
        return " ".join(raw.row.raw.split("\n"))
    return line(raw.row)


@contextlib.contextmanager
def staging(target: str) -> Generator[Path]:
    """A hidden folder next to the future copy; removed afterwards unless it became the copy.

    Raises:
        DataError: The name is not allowed for a dataset.
    """
    _named.usable(target)
    own = _named.own_folder(target)
    folder = own.with_name(f".{target}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise DataError(
            t("{file} cannot be written: {why}.", file=error.filename, why=error.strerror),
            fix=t("Free some space, or set TUNERY_HOME to another disk."),
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def save(
    target: str,
    dataset: Dataset,
    rows: Callable[[], Rows],
    how: str,
    *,
    folder: Path | None = None,
    config: DataConfig | None = None,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write rows as a new dataset: staged, checked, renamed, then registered.

    Args:
        target: The copy's name.
        dataset: The source of the rows; the copy is read with its settings.
        rows: Yields the lines of the copy.
        how: ``edit``, ``fill`` or ``skip``; recorded.
        folder: A staging folder whose other files are kept with the copy.
        config: Settings that override those of the dataset.
        facts: Recorded together with ``how``.

    Raises:
        DataError: The name is taken, or the rows do not pass the checker.
    """
    if not is_free(target):
        raise DataError(
            t("A dataset named {name} already exists.", name=target),
            fix=t("Choose another name."),
            code="exists",
        )
    if folder is None:
        with staging(target) as own:
            return save(target, dataset, rows, how, folder=own, config=config, facts=facts)
    own = _named.own_folder(target)
    _write(folder / ROWS_FILE, rows())
    reading = _reading(dataset, config)
    staged = replace(find(str(folder / ROWS_FILE)), names=(target,), tags=dataset.tags)
    _named.passed(_with(staged, reading), reading)
    shutil.rmtree(own, ignore_errors=True)
    folder.replace(own)
    made = {"how": how, "from": dataset.name, **(facts or {})}
    return _named.add(target, str(own / ROWS_FILE), reading, made=made, tags=dataset.tags or None)


def rewrite(name: str, rows: Callable[[], Rows]) -> int:
    """Replace the rows of a copy that Tunery made, atomically.

    Returns:
        The number of rows.

    Raises:
        DataError: The rows do not pass the checker.
    """
    own = _named.own_folder(name) / ROWS_FILE
    with staging(name) as folder:
        _write(folder / ROWS_FILE, rows())
        dataset = find(name)
        staged = replace(dataset, files=(folder / ROWS_FILE,), names=(name,))
        report = _named.passed(staged, DataConfig())
        digest = _named.digest(staged)
        with changing() as entries:
            entry = _named.added(name, entries)
            (folder / ROWS_FILE).replace(own)
            entry |= {"sha256": digest, "rows": report.rows}
    return report.rows


def _with(dataset: Dataset, config: DataConfig) -> Dataset:
    return replace(dataset, format=config.format, columns=config.columns)


def _write(file: Path, rows: Rows) -> None:
    try:
        with file.open("w", encoding="utf-8", errors="surrogatepass") as out:
            for line in rows:
                out.write(line + "\n")
            out.flush()
            os.fsync(out.fileno())
    except FileProblem as error:
        raise DataError(
            joined(say("{place}:", place=error.problem.place), error.problem.found),
            code=error.problem.code,
        ) from error
    except OSError as error:
        raise DataError(
            t("{file} cannot be written: {why}.", file=file, why=error.strerror),
            fix=t("Free some space, or set TUNERY_HOME to another disk."),
        ) from error


def _reading(dataset: Dataset, config: DataConfig | None) -> DataConfig:
    """How the rows of a copy are read: as before, without what applied only to the first file."""
    known = {
        key: value
        for key, value in dataset.reading.items()
        if key in _named.READING and key not in OF_A_FILE
    }
    chosen = (config or DataConfig()).model_dump(include=set(_named.READING), exclude_defaults=True)
    for key in OF_A_FILE:
        chosen.pop(key, None)
    own = {
        "format": dataset.format,
        "columns": dict(dataset.columns),
        "role_map": dict(dataset.role_map),
    }
    return DataConfig.model_validate({**own, **known, **chosen})
