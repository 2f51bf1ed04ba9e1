"""A dataset's rows as they are in its files, in pages, even if some of them are malformed.

An index of 8 bytes per row grows only as far as rows are requested, so the first page of ten
million rows is available at once. Text files are read in the calling process; Parquet and Arrow
need pyarrow, so the web process asks the warm one (``answer_rows``), which calls :func:`read_page`.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.dataset import Dataset
from tunery.data.lint.options import CheckOptions
from tunery.data.problems import FileProblem, coded, visible
from tunery.data.sources import open_file
from tunery.data.sources.base import Bad, Batch, FileSource, Lines
from tunery.data.sources.probe import probe
from tunery.data.sources.remote import fetch
from tunery.env import clipped
from tunery.i18n import joined, say, t
from tunery.types import is_mapping

COLUMNAR = (".parquet", ".arrow")
LIGHT_BYTES = 8 * 1024 * 1024
MAX_PAGE = 200
MAX_BAD = 1_000
RAW_CHARACTERS = 2_000
SEARCH_ROWS = 50_000
KEPT_READERS = 8


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a dataset.

    Args:
        rows: Each ``{"number", "file", "line", "values"}``, or with ``"problem"`` and ``"raw"``
            if it cannot be parsed.
        columns: Names of the columns of these rows, in order.
        total: Rows of the dataset; None until it has been read to its end.
        next: Number of the row to continue from; None at the end.
        problem: Why a file could not be read any further.
    """

    rows: list[dict[str, Any]]
    columns: list[str]
    total: int | None
    next: int | None
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the REST API."""
        return {
            "rows": self.rows,
            "columns": self.columns,
            "total": self.total,
            "next": self.next,
            "problem": self.problem,
        }


def rows_page(
    name: str,
    config: DataConfig | None = None,
    *,
    offset: int = 0,
    limit: int = 50,
    query: str = "",
) -> dict[str, Any]:
    """Return rows from ``offset + 1`` as plain data; the warm process reads columnar files.

    Args:
        name: Any name of a dataset.
        config: How it is read, overriding the settings it was added with.
        offset: How many rows to skip.
        limit: Maximum number of rows.
        query: Only rows that contain this text, ignoring case.

    Raises:
        TuneryError: The dataset was not found.
    """
    config = config or DataConfig()
    if not is_columnar(located(name, config), config):
        return read_page(name, config, offset=offset, limit=limit, query=query)
    from tunery.workers import warm

    return warm.ask(
        "sample_rows",
        name=name,
        data=config.model_dump(mode="json", exclude_defaults=True),
        offset=offset,
        limit=limit,
        query=query,
    )


def read_page(
    name: str, config: DataConfig, *, offset: int = 0, limit: int = 50, query: str = ""
) -> dict[str, Any]:
    """Return rows as plain data, reading the files in this process; see :func:`rows_page`."""
    reader = _reader(located(name, config), config)
    limit = max(1, min(limit, MAX_PAGE))
    with reader.lock:
        found = reader.search(query, offset, limit) if query else reader.page(offset, limit)
    return found.as_dict()


def answer_rows(
    name: str, data: Mapping[str, Any], *, offset: int = 0, limit: int = 50, query: str = ""
) -> dict[str, Any]:
    """The warm process's part of :func:`rows_page`: settings are passed as plain data."""
    return read_page(
        name, DataConfig.model_validate(dict(data)), offset=offset, limit=limit, query=query
    )


def located(name: str, config: DataConfig) -> Dataset:
    """Find a dataset with its files on this machine.

    Raises:
        TuneryError: It was not found, or cannot be downloaded.
    """
    return fetch(
        find(name, catalog=config.catalog, fmt=config.format, columns=config.columns or None)
    )


def is_columnar(dataset: Dataset, config: DataConfig) -> bool:
    """Whether reading it requires pyarrow."""
    return any(_kind(dataset, place, config) in COLUMNAR for place in range(len(dataset.files)))


def is_light(dataset: Dataset, config: DataConfig) -> bool:
    """Whether it can be read in full within a request, and without pyarrow."""
    return size_bytes(dataset) <= LIGHT_BYTES and not is_columnar(dataset, config)


def size_bytes(dataset: Dataset) -> int:
    """Total size of its existing files, in bytes."""
    return sum(path.stat().st_size for path in dataset.files if path.is_file())


class Raw(NamedTuple):
    """One record as it was read: its values or ``Bad``, and its location."""

    number: int
    row: Any
    text: str | None
    file: str
    record: int


def each_row(dataset: Dataset, config: DataConfig) -> Iterator[Raw]:
    """Read every row once, in order, including those that cannot be parsed.

    Raises:
        FileProblem: A file cannot be read any further.
    """
    number = 0
    reading = CheckOptions.of(config).over(dataset).reading()
    for path, name in zip(dataset.files, dataset.names, strict=True):
        source, _ = open_file(path, name, reading)
        for batch in source.batches():
            texts = batch.texts if source.columns is None else None
            for i, row in enumerate(batch.rows):
                number += 1
                text = texts[i] if texts is not None else None
                yield Raw(number, row, text, name, batch.first + i)


def plain(value: Any) -> Any:
    """A value as JSON can represent it; other types become text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if is_mapping(value):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("list[Any]", value)]
    return str(value)


def strings(value: Any) -> Iterator[str]:
    """Every text inside a value."""
    if isinstance(value, str):
        yield value
    elif is_mapping(value):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from strings(item)


def _kind(dataset: Dataset, place: int, config: DataConfig) -> str:
    reading = CheckOptions.of(config).over(dataset).reading()
    try:
        return probe(dataset.files[place], dataset.names[place], reading).kind
    except FileProblem:
        return ""  # reported when it is read


@dataclass(slots=True)
class _File:
    """One file, as far as it has been read."""

    source: FileSource
    first: int
    starts: array[int] = field(default_factory=lambda: array("Q"))
    lines: Lines = field(default_factory=Lines)
    has_lines: bool = False


class _Reader:
    """The index of one dataset, which grows on demand."""

    def __init__(self, dataset: Dataset, config: DataConfig) -> None:
        self.lock = threading.Lock()
        self.total: int | None = None
        self.problem = ""
        self._dataset = dataset
        self._reading = CheckOptions.of(config).over(dataset).reading()
        self._files: list[_File] = []
        self._bad: dict[int, Bad] = {}
        self._known = 0
        self._batches = self._read()

    def page(self, offset: int, limit: int) -> Page:
        """Return rows by number."""
        end = offset + limit
        while self._known < end and self.total is None:
            self._more()
        rows = [self._row(number) for number in range(offset + 1, min(end, self._known) + 1)]
        return self._as_page(rows, end if end < self._known or self.total is None else None)

    def search(self, query: str, offset: int, limit: int) -> Page:
        """Return rows after ``offset`` that contain a text."""
        needle, rows = query.casefold(), list[dict[str, Any]]()
        number = offset
        while len(rows) < limit and number - offset < SEARCH_ROWS:
            if number >= self._known:
                if self.total is not None:
                    return self._as_page(rows, None)
                self._more()
                continue
            number += 1
            row = self._row(number)
            held = row.get("values", row.get("raw"))
            if any(needle in text.casefold() for text in strings(held)):
                rows.append(row)
        more = self.total is None or number < self._known
        return self._as_page(rows, number if more else None)

    def _as_page(self, rows: list[dict[str, Any]], following: int | None) -> Page:
        columns: dict[str, None] = {}
        for row in rows:
            columns.update(dict.fromkeys(row.get("values", ())))
        return Page(rows, list(columns), self.total, following, self.problem)

    def _more(self) -> None:
        try:
            next(self._batches)
        except StopIteration:
            self.total = self._known
        except FileProblem as error:
            problem = error.problem
            self.problem = joined(say("{place}:", place=problem.place), problem.words)
            self.total = self._known

    def _read(self) -> Iterator[None]:
        for path, name in zip(self._dataset.files, self._dataset.names, strict=True):
            source, _ = open_file(path, name, self._reading)
            file = _File(source, self._known + 1)
            self._files.append(file)
            for batch in source.batches():
                self._add(file, batch)
                yield

    def _add(self, file: _File, batch: Batch) -> None:
        for i, row in enumerate(batch.rows):
            if isinstance(row, Bad) and len(self._bad) < MAX_BAD:
                self._bad[self._known + 1 + i] = row
        file.starts.extend(batch.starts)
        if batch.lines is not None:
            file.has_lines = True
            file.lines.extend(batch.lines, batch.first)
        self._known += len(batch.rows)

    def _row(self, number: int) -> dict[str, Any]:
        file = next(file for file in reversed(self._files) if file.first <= number)
        at = number - file.first
        row: dict[str, Any] = {"number": number, "file": file.source.name}
        if file.has_lines:
            row["line"] = file.lines.of(at + 1)
        bad = self._bad.get(number)
        if bad is not None:
            problem = bad.problem
            said = coded(problem.code, problem.found.local())
            raw = visible(bad.raw, RAW_CHARACTERS)
            return row | {"problem": said, "fix": joined(bad.problem.fix), "raw": raw}
        try:
            value = file.source.load(file.starts[at])
        except (OSError, ValueError, LookupError, StopIteration, RecursionError) as error:
            return row | {"problem": t("This row cannot be parsed: {why}", why=error), "raw": ""}
        if not is_mapping(value):
            return row | {
                "problem": t("This row is not an object."),
                "raw": clipped(str(value), RAW_CHARACTERS),
            }
        return row | {"values": plain(value)}


_readers: OrderedDict[Any, _Reader] = OrderedDict()
_readers_lock = threading.Lock()


def _reader(dataset: Dataset, config: DataConfig) -> _Reader:
    """The index of a dataset for the current state of its files."""
    reading = CheckOptions.of(config).over(dataset).reading()
    stats = [path.stat() if path.is_file() else None for path in dataset.files]
    key = (
        dataset.name,
        reading,
        tuple(map(str, dataset.files)),
        tuple((s.st_size, s.st_mtime_ns, s.st_ino) if s else None for s in stats),
    )
    with _readers_lock:
        reader = _readers.pop(key, None) or _Reader(dataset, config)
        _readers[key] = reader
        while len(_readers) > KEPT_READERS:
            _readers.popitem(last=False)
    return reader
