"""How a file's rows would be read: detected format and confidence, columns, three examples.

The same code as in a run decides: formats come from ``data.formats``, and what the user changes
becomes the settings that ``datasets.add`` stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunery import env
from tunery.config import explain
from tunery.config.data import DataConfig
from tunery.data.catalog import ELSEWHERE, find, located
from tunery.data.dataset import REGISTRY, Dataset
from tunery.data.formats import FORMATS, RowOptions
from tunery.data.formats.base import read_columns
from tunery.data.formats.beside import convert
from tunery.data.formats.detect import SAMPLE_ROWS, best
from tunery.data.kinds import row_kind
from tunery.data.lint import advice
from tunery.data.lint.options import CheckOptions
from tunery.data.llamafactory import is_registry, read_registry
from tunery.data.problems import RowProblem, coded
from tunery.env import clipped
from tunery.errors import DataError, TuneryError
from tunery.i18n import joined, t
from tunery.services import machine
from tunery.services.datasets import _uploads
from tunery.services.datasets._copies import is_free, next_version
from tunery.services.datasets._rows import is_columnar, rows_page

PREVIEWED = 3
SHOWN_RAW = 5
RAW_CHARACTERS = 2_000
TABLES = frozenset({".csv", ".tsv"})
UPLOAD_PREFIX = "upload:"


def source_path(source: str) -> str:
    """Translate a source from the page into a name for ``data.train``.

    Args:
        source: ``upload:ID``, ``hf:owner/name``, a path on this machine or ``folder:split``.

    Raises:
        TuneryError: No such upload, or the path lies outside the folders that the page may open.
    """
    source = source.strip()
    if source.startswith(UPLOAD_PREFIX):
        upload = _uploads.show_upload(source.removeprefix(UPLOAD_PREFIX))
        if not upload.done:
            raise DataError(t("{name} is not fully uploaded yet.", name=upload.name))
        return str(upload.files)
    if source.startswith(ELSEWHERE):
        return source
    if not source:
        raise DataError(t("No source given."), fix=t("Enter a file or a folder on this machine."))
    path = env.expanded(source)
    if not path.is_absolute():
        raise DataError(
            t("{path}: an absolute path is needed.", path=source),
            fix=t(
                "Use an absolute path such as /data/rows.jsonl, or hf:owner/name for "
                "a dataset on the hub."
            ),
        )
    path, split = located(source) or (path, None)
    real = machine.inside_roots(path)
    if not real.exists():
        raise DataError(t("File {path} not found.", path=source), fix=t("Check the path."))
    return f"{real}:{split}" if split else str(real)


def propose_columns(source: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Inspect a source and propose how to read it.

    Args:
        source: See :func:`source_path`.
        data: What the user has chosen so far: ``format``, ``columns``, ``records_at`` ...

    Returns:
        Plain data: suggested ``name``, ``format`` with its ``confidence`` (0 to 1), the columns of
        the file, those the format reads, three rows as they would be trained on, and ``problem``
        if the file cannot be read. Where no format fits by itself, ``likely`` holds the settings
        that are assumed. Or the ``catalog`` of a LLaMA-Factory folder.

    Raises:
        TuneryError: There is no such source.
    """
    path = source_path(source)
    listed = catalog(path)
    if listed is not None:
        return {"source": source, "catalog": listed}
    config = reading(data)
    dataset = find(path, fmt=config.format, columns=config.columns or None)
    shown = rows_page(path, config, limit=SAMPLE_ROWS)
    rows = [row["values"] for row in shown["rows"] if "values" in row]
    options = CheckOptions.of(config).over(dataset).rows(dataset)
    known = config.format or dataset.format
    name, confidence = (known, None) if known else detected(rows, options)
    options = CheckOptions.of(config).renamed(options, name)
    guess = None if config.columns or dataset.columns else _guessed(name, rows, options)
    if guess is not None:
        name = guess["format"]
        config = config.model_copy(update=guess)
        dataset = find(path, fmt=name, columns=config.columns)
        options = CheckOptions.of(config).over(dataset).rows(dataset)
    if name is not None:
        options = read_columns(FORMATS.get(name), shown["columns"], options)
    return {
        "source": source,
        "catalog": None,
        "name": suggested_name(source, path),
        "format": name,
        "confidence": confidence,
        "likely": guess,
        "formats": list(FORMATS),
        "columns": shown["columns"],
        "needed": _needed(name, shown["columns"], options),
        "rows": shown["total"],
        "problem": shown["problem"],
        "preview": [] if name is None else examples(shown["rows"], name, options),
        "raw": [_raw(row, shown["columns"]) for row in shown["rows"][:SHOWN_RAW]],
        "table": _table(dataset, config),
        "encoding": None
        if is_columnar(dataset, config)
        else CheckOptions.of(config).over(dataset).encoding,
    }


def encodings() -> list[tuple[str, str]]:
    """The encodings that are offered for text files, each with what it is used for."""
    uses = {
        t("simplified Chinese"): ("gb18030",),
        t("traditional Chinese"): ("big5",),
        t("Japanese"): ("shift_jis", "euc_jp"),
        t("Korean"): ("euc_kr",),
        t("Western European"): ("cp1252",),
        t("Central European"): ("cp1250", "iso8859_2"),
        t("Cyrillic"): ("cp1251", "koi8_r"),
        t("Greek"): ("cp1253",),
        t("Turkish"): ("cp1254",),
        t("Hebrew"): ("cp1255",),
        t("Arabic"): ("cp1256",),
    }
    labelled = [(each, f"{each} · {use}") for use, names in uses.items() for each in names]
    return [("utf-8", "utf-8"), ("utf-16", "utf-16"), *labelled]


def _guessed(
    name: str | None, rows: Sequence[dict[str, Any]], options: RowOptions
) -> dict[str, Any] | None:
    """Settings that are likely meant where no format fits, or where its columns are missing."""
    if name is not None:
        needed = FORMATS.get(name).required
        if not rows or all(any(options.column(ours) in row for row in rows) for ours in needed):
            return None
    found = advice.likely(rows, name)
    return {"format": found[0], "columns": found[1]} if found else None


def reading(data: Mapping[str, Any] | None) -> DataConfig:
    """The settings of the section ``data`` by which a client wants rows read.

    Raises:
        ConfigError: A value has the wrong type, or there is no such setting.
    """
    config, problems = explain.validate({"data": dict(data or {})})
    explain.fail(problems)
    assert config is not None
    return config.data


def _raw(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """One row as it is in the file: a text per column, or what is wrong with it."""
    if "values" not in row:
        return {"row": row["number"], "problem": row["problem"]}
    cells = [row["values"].get(column) for column in columns]
    texts = ["" if cell is None else clipped(str(cell), RAW_CHARACTERS) for cell in cells]
    return {"row": row["number"], "cells": texts}


def _table(dataset: Dataset, config: DataConfig) -> dict[str, Any] | None:
    """How a csv or tsv file is split into cells; None for other files."""
    if not any(file.suffix.lower() in TABLES for file in dataset.files):
        return None
    return {"header": config.header, "delimiter": config.delimiter or ""}


def detected(rows: Sequence[dict[str, Any]], options: RowOptions) -> tuple[str | None, float]:
    """The best-fitting format, and its share of the rows, weighted by how well each fits."""
    votes: dict[str, float] = {}
    for row in rows:
        name, score = best(row, options)
        if name is not None:
            votes[name] = votes.get(name, 0.0) + score
    if not votes:
        return None, 0.0
    winner = max(votes, key=lambda name: votes[name])
    return winner, round(votes[winner] / max(1, len(rows)), 2)


def examples(
    rows: Sequence[Mapping[str, Any]], name: str, options: RowOptions
) -> list[dict[str, Any]]:
    """The first rows as they would be trained on: messages, a text, or what is wrong."""
    shape = FORMATS.get(name)
    found: list[dict[str, Any]] = []
    for row in rows[:PREVIEWED]:
        if "values" not in row:
            found.append(
                {"row": row["number"], "problem": row["problem"], "fix": row.get("fix", "")}
            )
            continue
        try:
            example = convert(shape, row["values"], options)
        except RowProblem as error:
            said = coded(error.code, joined(error.found, error.fix))
            found.append({"row": row["number"], "problem": said, "fix": joined(error.fix)})
            continue
        found.append({"row": row["number"], **row_kind(example).shown(example)})
    return found


def catalog(path: str) -> list[dict[str, Any]] | None:
    """The entries of a LLaMA-Factory ``dataset_info.json``; None if the path is not one."""
    file = Path(path) / REGISTRY if Path(path).is_dir() else Path(path)
    if file.name != REGISTRY or not is_registry(file.parent):
        return None
    return [
        {
            "name": dataset.name,
            "format": dataset.format,
            "where": dataset.origin or ", ".join(each.name for each in dataset.files),
            "free": is_free(dataset.name),
            "problem": " ".join(problem.found.local() for problem in dataset.problems)
            or _gone(dataset),
        }
        for dataset in _entries(file)
    ]


def import_entries(path: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Register entries of a LLaMA-Factory catalog under names here.

    Returns:
        For each ``{"name", "as"}``, or ``{"name", "error"}`` if it cannot be read.
    """
    from tunery.services.datasets import _named

    file = Path(path) / REGISTRY if Path(path).is_dir() else Path(path)
    entries = {dataset.name: dataset for dataset in _entries(file)}
    found: list[dict[str, Any]] = []
    for name in names:
        entry = entries.get(name)
        if entry is None or (not entry.files and not entry.origin):
            found.append({"name": name, "error": t("Dataset {name} not found.", name=name)})
            continue
        own = name if is_free(name) else next_version(name)
        given = {"columns": dict(entry.columns), "role_map": dict(entry.role_map)}
        config = DataConfig.model_validate({"format": entry.format, **given})
        try:
            where = _where(entry)
            if entry.origin is None:
                machine.inside_roots(Path(where))
            added = _named.add(own, where, config, tags=entry.tags or None)
        except TuneryError as error:
            found.append({"name": name, "error": str(error)})
        else:
            found.append({"name": name, "as": added["name"], "rows": added["rows"]})
    return found


def suggested_name(source: str, path: str) -> str:
    """An unused name for a dataset from this source."""
    if source.startswith(UPLOAD_PREFIX):
        stem = _uploads.suggested_name(_uploads.show_upload(source.removeprefix(UPLOAD_PREFIX)))
    elif source.startswith(ELSEWHERE):
        stem = _uploads.stem(source.split(":", 1)[1].rsplit("/", 1)[-1].split("@")[0])
    else:
        stem = _uploads.stem(Path(path).name.replace(":", "-"))
    return stem if is_free(stem) else next_version(stem)


def _entries(file: Path) -> list[Dataset]:
    return read_registry(file)


def _gone(dataset: Dataset) -> str:
    gone = [path.name for path in dataset.files if not path.is_file()]
    return t("Files not found: {names}.", names=joined(*gone, between=", ")) if gone else ""


def _where(entry: Dataset) -> str:
    if entry.origin is None:
        return str(entry.files[0] if len(entry.files) == 1 else entry.files[0].parent)
    if entry.source == "cloud":
        return entry.origin
    parts = [f"hf:{entry.origin}", f":{entry.subset}" if entry.subset else ""]
    return "".join(parts) + (f"@{entry.split}" if entry.split else "")


def _needed(name: str | None, columns: Sequence[str], options: RowOptions) -> list[dict[str, Any]]:
    if name is None:
        return []
    shape = FORMATS.get(name)
    found: list[dict[str, Any]] = []
    for ours in shape.known:
        theirs = options.column(ours)
        found.append(
            {
                "ours": ours,
                "required": ours in shape.required,
                "theirs": theirs if theirs in columns else "",
            }
        )
    return found
