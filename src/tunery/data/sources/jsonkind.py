"""How a JSON file stores rows: one per line, in an array, or as multi-line objects."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from tunery.data.problems import Problem, say
from tunery.data.sources.base import ReadOptions
from tunery.data.sources.mislabelled import json_in_table, refuse_other
from tunery.types import is_object

FIRST_CHARACTERS = 4 * 1024 * 1024
"""Characters read to find the end of a first object that spans several lines."""


def json_kind(
    path: Path, name: str, suffix: str, skip: int, options: ReadOptions, notes: list[Problem]
) -> str:
    """Detect how a file stores rows.

    Args:
        path: The file, in UTF-8.
        name: Name of the file in notes.
        suffix: Suffix of the file, without .gz.
        skip: Length of a byte-order mark to skip, in bytes.
        options: How the file is read.
        notes: Notes are appended to this list.

    Raises:
        FileProblem: E128, the content is a table or YAML.

    Returns:
        ``array``, ``lines``, ``object``, ``stream`` (objects that span lines), ``blank``, or the
        suffix of a CSV, TSV or text file.
    """
    if suffix in (".csv", ".tsv") and (kind := json_in_table(path, skip, options)):
        notes.append(_note_of(kind, name))
        return kind
    if suffix in (".csv", ".tsv", ".txt"):
        return suffix
    with path.open("rb") as file:
        file.seek(skip)
        first = file.read(1 << 16).lstrip()
        if first[:1] == b"[":
            head, _, rest = first.partition(b"\n")
            if suffix in (".jsonl", ".ndjson"):
                if rest.strip() and _complete(head, list):
                    return "lines"
                notes.append(_note_of("array", name))
            return "array"
        if options.records_at:
            return "array"
        if first[:1] != b"{":
            refuse_other(path, name, skip)
            return "lines" if first or suffix in (".jsonl", ".ndjson") else "blank"
        file.seek(skip)
        filled = (piece for piece in iter(lambda: file.readline(64 << 20), b"") if piece.strip())
        line, second = [*islice(filled, 2), b"", b""][:2]
    is_jsonl = suffix in (".jsonl", ".ndjson")
    if _complete(line, dict):
        if is_jsonl:
            return "object" if not second and _numbered(line) else "lines"
        if second.lstrip()[:1] == b"{":
            notes.append(_note_of("lines", name))
            return "lines"
        return "object"
    follower = _after_first(path, skip) if second else None
    if follower == "{":
        note = say("each object spans several lines; they are read one after another")
        notes.append(Problem("N118", name, note))
        return "stream"
    if follower == "":
        return "object"
    if is_jsonl or (second.lstrip()[:1] == b"{" and line.rstrip()[-1:] == b"}"):
        return "lines"
    return "object"


def _note_of(kind: str, name: str) -> Problem:
    """N113 or N114: the content is not what the suffix says."""
    if kind == "array":
        return Problem("N113", name, say("the content is a JSON array and is read as such"))
    return Problem("N114", name, say("the content is JSON Lines and is read as such"))


def _complete(line: bytes, kind: type) -> bool:
    try:
        return isinstance(json.loads(line), kind)
    except (ValueError, RecursionError):
        return False


def _numbered(line: bytes) -> bool:
    """Whether all keys of an object are numbers and all values objects, as in rows from pandas."""
    value: Any = json.loads(line)
    return bool(value) and all(key.isdigit() and is_object(each) for key, each in value.items())


def _after_first(path: Path, skip: int) -> str | None:
    """The first character after a first object that spans several lines; ``""`` at the end of file.

    None if the file does not start with such an object, or the object is too long.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        file.seek(skip)
        text = file.read(FIRST_CHARACTERS)
        whole = not file.read(1)
    start = len(text) - len(text.lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    rest = text[end:].lstrip()
    one_line = "\n" not in text[start:end]
    if one_line or not is_object(value) or (not rest and not whole):
        return None
    return rest[:1]
