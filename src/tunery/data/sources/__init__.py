"""Open data files: detect the type of a file from its content, then stream its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunery.data.problems import FileProblem, Problem, enumerated, say, visible
from tunery.data.sources.base import FileSource, ReadOptions
from tunery.data.sources.charset import not_utf8
from tunery.data.sources.columnar import ArrowFile, ParquetFile
from tunery.data.sources.delimited import DelimitedFile
from tunery.data.sources.frames import MemoryRows, rows_of
from tunery.data.sources.jsonarray import ArrayFile
from tunery.data.sources.jsonlines import LineFile
from tunery.data.sources.probe import Probed, probe
from tunery.data.sources.syntax import syntax_problem

MAX_OBJECT_BYTES = 64 * 1024 * 1024


def open_file(
    path: Path, name: str, options: ReadOptions
) -> tuple[FileSource, tuple[Problem, ...]]:
    """Open a data file.

    Args:
        path: The file.
        name: Name of the file in problems.
        options: How the file is read.

    Returns:
        The source, and notes about accepted peculiarities of the file.

    Raises:
        FileProblem: The file cannot be read as rows.
        ConfigError: ``data.encoding`` or ``data.delimiter`` is not valid.
        DataError: pyarrow is needed and not installed.
    """
    found = probe(path, name, options)
    return _source(found, name, options), found.notes


def _source(found: Probed, name: str, options: ReadOptions) -> FileSource:
    match found.kind:
        case ".parquet":
            return ParquetFile(name, found.path, options)
        case ".arrow":
            return ArrowFile(name, found.path, options)
        case ".csv" | ".tsv":
            return DelimitedFile(
                name,
                found.path,
                skip=found.skip,
                usual="," if found.kind == ".csv" else "\t",
                options=options,
            )
        case ".txt":
            return LineFile(name, found.path, skip=found.skip, plain=True, options=options)
        case "array":
            return ArrayFile(
                name,
                found.path,
                skip=found.skip,
                records_at=options.records_at,
                options=options,
            )
        case "stream":
            return ArrayFile(name, found.path, skip=found.skip, bare=True, options=options)
        case "object":
            return _single_object(found, name, options)
        case _:
            return LineFile(name, found.path, skip=found.skip, options=options)


def _single_object(found: Probed, name: str, options: ReadOptions) -> FileSource:
    """Open a .json file that is one object: a table, or one row.

    Raises:
        FileProblem: The object contains lists of rows (E120), spans lines but is one row, is too
            large (E121), or is not valid.
    """
    size = found.path.stat().st_size
    if size > MAX_OBJECT_BYTES:
        raise FileProblem(
            Problem(
                "E121",
                name,
                say("the top level is an object, not a list"),
                say("Set --data.records_at to the key that holds the list of rows."),
                line=1,
            )
        )
    data = found.path.read_bytes()[found.skip :]
    try:
        value: Any = json.loads(data)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        piece = data[start : error.start + 40].split(b"\n")[0]
        raise FileProblem(
            not_utf8(name, found.path, piece, error.start - start, line=line, record=None)
        ) from error
    except (ValueError, RecursionError):
        text = data.decode("utf-8")
        problem = syntax_problem(name, text, line=1, record=1)
        at = (problem.column or 1) - 1
        line, start = text[:at].count("\n") + 1, text.rfind("\n", 0, at) + 1
        excerpt = text[start:].split("\n", 1)[0]
        raise FileProblem(
            Problem(
                problem.code,
                name,
                problem.found,
                problem.fix,
                line=line,
                column=at - start + 1,
                record=1,
                excerpt=excerpt if len(excerpt) < 4_000 else None,
            )
        ) from None
    if (table := rows_of(value, name)) is not None:
        return MemoryRows(name, found.path, *table)
    lists = _lists(value)
    chat = {"messages", "conversations"} & set(lists)
    if lists and not chat:
        key = lists[0]
        raise FileProblem(
            Problem(
                "E120",
                name,
                say(
                    "the top level is an object with one list, {key} ({count} records)",
                    key=visible(key, 40),
                    count=len(value[key]),
                )
                if len(lists) == 1
                else say(
                    "the top level is an object with several lists: {keys}", keys=enumerated(lists)
                ),
                say("Set --data.records_at {key}.", key=visible(key, 40)),
                line=1,
            )
        )
    if b"\n" in data.strip():
        raise FileProblem(
            Problem(
                "E121",
                name,
                say("the top level is a single object; expected a list of rows"),
                say("Put the rows in a list: [ ... ], or one object per line."),
                line=1,
            )
        )
    return LineFile(name, found.path, skip=found.skip, options=options)


def _lists(value: dict[str, Any]) -> list[str]:
    """Keys whose lists may be rows, without axolotl's ``segments``, which are parts of one row."""
    return [
        key
        for key, item in value.items()
        if isinstance(item, list) and item and isinstance(item[0], dict)
        and not (key == "segments" and "label" in item[0])
    ]  # fmt: skip
