"""Text files whose content is not what their suffix says: JSON in a table, a table or YAML in JSON.

JSON is recognized with certainty and read as such. A table or YAML is not, so it is refused with
what it is, in one sentence instead of one per line.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from tunery.data.problems import FileProblem, Problem, enumerated, say
from tunery.data.sources.base import ReadOptions

HEAD_BYTES = 1 << 16
NAME = re.compile(r"[^\W\d][\w-]*")
YAML = re.compile(r"---\s*$|(?:- )?[^\W\d][\w-]*:(?:\s|$)")
DELIMITERS = {",": "CSV", "\t": "TSV", ";": "CSV"}


def json_in_table(path: Path, skip: int, options: ReadOptions) -> str:
    """``lines`` or ``array`` if a .csv or .tsv file contains JSON rows, otherwise empty.

    Args:
        path: The file, in UTF-8.
        skip: Length of a byte-order mark to skip, in bytes.
        options: How the file is read; with settings of tables, it is a table.
    """
    if options.delimiter is not None or not options.header:
        return ""
    lines = _first_lines(path, skip)
    if re.match(r"\[\s*\{\s*\"", "\n".join(lines)):
        return "array"
    return "lines" if lines and all(map(_is_object, lines)) else ""


def refuse_other(path: Path, name: str, skip: int) -> None:
    """Refuse a file that is read as JSON and is a table or YAML.

    Args:
        path: The file, in UTF-8; its first character begins no object or list.
        name: Name of the file.
        skip: Length of a byte-order mark to skip, in bytes.

    Raises:
        FileProblem: E128.
    """
    lines = _first_lines(path, skip)
    if not lines:
        return
    if YAML.match(lines[0]) and not any(map(_is_object, lines)):
        found = say("the content is YAML, not JSON")
        fix = say("Write each row as a JSON object on one line (in Python: json.dumps).")
        raise FileProblem(Problem("E128", name, found, fix, line=1))
    for delimiter, kind in DELIMITERS.items():
        if columns := _header(lines, delimiter):
            found = say("the content is {kind} with the columns {columns}, not JSON",
                        kind=kind, columns=enumerated(columns))  # fmt: skip
            fix = say("Rename the file so that its name ends in {suffix}.",
                      suffix=f".{kind.lower()}")  # fmt: skip
            raise FileProblem(Problem("E128", name, found, fix, line=1))


def _first_lines(path: Path, skip: int) -> list[str]:
    """The first two lines with content; none of them cut."""
    with path.open("rb") as file:
        file.seek(skip)
        head = file.read(HEAD_BYTES)
    lines = head.decode("utf-8", errors="replace").splitlines()
    if len(head) == HEAD_BYTES:
        lines.pop()
    return [line for line in lines if line.strip()][:2]


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _header(lines: list[str], delimiter: str) -> list[str]:
    """The columns of a table; empty if the lines are none."""
    try:
        header, *rows = csv.reader(lines, delimiter=delimiter)
    except csv.Error:
        return []
    names = [cell.strip() for cell in header]
    alike = bool(rows) and len(rows[0]) == len(header) and not _is_object(lines[1])
    good = len(names) > 1 and len(set(names)) == len(names) and all(map(NAME.fullmatch, names))
    return names if alike and good else []
