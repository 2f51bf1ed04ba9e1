"""``data`` settings without effect on the rows of a dataset: each is a warning (W732).

A setting applies to all datasets of a request, so it is unused only if no dataset uses it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunery.data.formats.base import UNREAD
from tunery.data.lint.options import CheckOptions
from tunery.data.lint.settle import Settled
from tunery.data.problems import NOTHING, Phrase, Problem, enumerated, say, visible
from tunery.data.sources.base import FileSource
from tunery.data.sources.columnar import ArrowFile, ParquetFile
from tunery.data.sources.delimited import DelimitedFile
from tunery.data.sources.jsonarray import ArrayFile
from tunery.types import is_list, is_object

CODE = "W732"


@dataclass(slots=True)
class Seen:
    """Columns, roles, placeholders and file types of a dataset, to compare with the settings.

    Args:
        columns: Columns of the usable rows, in order.
        roles: Roles of their messages, if ``data.role_map`` is set.
        placeholders: Names of placeholders in their texts.
        tables: Whether a file is CSV or TSV.
        encoded: Whether ``data.encoding`` applies to a file.
        arrays: Whether ``data.records_at`` applies to a file.
    """

    columns: dict[str, None] = field(default_factory=dict[str, None])
    roles: dict[str, None] = field(default_factory=dict[str, None])
    placeholders: dict[str, None] = field(default_factory=dict[str, None])
    tables: bool = False
    encoded: bool = False
    arrays: bool = False

    def file(self, source: FileSource) -> None:
        """Record the type of a file."""
        self.tables = self.tables or isinstance(source, DelimitedFile)
        self.encoded = self.encoded or not isinstance(source, ParquetFile | ArrowFile)
        self.arrays = self.arrays or (isinstance(source, ArrayFile) and bool(source.records_at))

    def add_roles(self, row: Mapping[str, Any], columns: Collection[str], key: str) -> None:
        """Record the roles of a row's messages.

        Args:
            row: The row.
            columns: Columns that may contain messages.
            key: Key of the role in a turn, such as ``from``.
        """
        for column in columns:
            value: Any = row.get(column)
            if is_object(value) and is_list(value.get("messages")):
                value = value["messages"]
            for item in value if is_list(value) else (value,):
                if is_object(item):
                    for name in ("role", key):
                        if isinstance(role := item.get(name), str):
                            self.roles[role] = None


def idle(seen: Seen, settled: Settled, options: CheckOptions, file: str) -> Iterator[Problem]:
    """List the settings that had no effect on a dataset's rows.

    Args:
        seen: What the usable rows contain.
        settled: How they were read.
        options: The settings.
        file: File name for the problems.
    """
    assert settled.format is not None
    known, columns = settled.format.known, list(seen.columns)
    for ours, theirs in options.columns.items():
        if ours in known and theirs != UNREAD and theirs not in seen.columns:
            path = f"data.columns.{ours}"
            yield _absent(path, path, theirs, columns, file)
    for setting, names in (
        ("data.parse", options.parse),
        ("data.coerce", options.coerce),
        ("data.allow_empty", options.allow_empty),
    ):
        for name in names:
            field = f"{setting}.{visible(name, 40)}"
            path = setting if setting == "data.allow_empty" else field
            if name not in seen.columns:
                yield _absent(path, field, name, columns, file)
            elif name not in settled.used:
                found = say("{setting}: column {column} is not read, so it has no effect",
                            setting=path, column=visible(name, 40))  # fmt: skip
                read = [each for each in columns if each in settled.used]
                yield Problem("W732", file, found, _near(name, read), field=field)
    for role in options.role_map:
        if role not in seen.roles:
            path = f"data.role_map.{visible(role, 40)}"
            found = say("{setting}: no message has the role {role}, so it has no effect",
                        setting=path, role=visible(role, 40))  # fmt: skip
            fix = (
                _near(role, list(seen.roles))
                if seen.roles
                else say("Remove it: rows of format {format} have no roles.",
                         format=settled.format.name)
            )  # fmt: skip
            yield Problem("W732", file, found, fix, field=path)
    for name in options.variables:
        if name not in seen.placeholders:
            path = f"data.variables.{visible(name, 40)}"
            found = say("{setting}: no row has the placeholder {name}, so it has no effect",
                        setting=path, name="{{" + visible(name, 40) + "}}")  # fmt: skip
            fix = (
                _near(name, list(seen.placeholders))
                if seen.placeholders
                else say("Remove it: the rows have no placeholders.")
            )
            yield Problem("W732", file, found, fix, field=path)
    yield from _of_files(seen, options, file)


def _of_files(seen: Seen, options: CheckOptions, file: str) -> Iterator[Problem]:
    default = CheckOptions()
    remove = say("Remove the setting.")
    if not seen.tables:
        for name in ("header", "delimiter"):
            if getattr(options, name) != getattr(default, name):
                found = say("{setting}: no file is a csv or tsv file, so it has no effect",
                            setting=f"data.{name}")  # fmt: skip
                yield Problem("W732", file, found, remove, field=f"data.{name}")
    if options.records_at is not None and not seen.arrays:
        found = say("{setting}: no file is a single JSON object, so it has no effect",
                    setting="data.records_at")  # fmt: skip
        yield Problem("W732", file, found, remove, field="data.records_at")
    if options.encoding != default.encoding and not seen.encoded:
        found = say("{setting}: Parquet and Arrow files are always UTF-8, so it has no effect",
                    setting="data.encoding")  # fmt: skip
        yield Problem("W732", file, found, remove, field="data.encoding")


def common(found: Sequence[Mapping[str, Problem]]) -> dict[str, Problem]:
    """The settings without effect on any dataset of a request, by setting.

    Args:
        found: For each dataset, its settings without effect.
    """
    first = dict(found[0]) if found else {}
    return {path: each for path, each in first.items() if all(path in other for other in found)}


def _absent(path: str, field: str, column: str, columns: Sequence[str], file: str) -> Problem:
    found = say("{setting}: no row has a column {column}, so it has no effect",
                setting=path, column=visible(column, 40))  # fmt: skip
    return Problem("W732", file, found, _near(column, columns), field=field)


def _near(name: str, known: Sequence[str]) -> Phrase:
    """Suggest the most similar name, or list all names."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    if near:
        return say("Did you mean {name}?", name=visible(near[0], 40))
    return say("Available: {names}.", names=enumerated(known)) if known else NOTHING
