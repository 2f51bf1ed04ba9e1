"""Determine the format of a dataset from its first rows, and check its columns."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tunery.data.dataset import Dataset
from tunery.data.formats import FORMATS, Format, RowOptions
from tunery.data.formats.base import UNREAD, read_columns
from tunery.data.formats.detect import SAMPLE_ROWS, detect
from tunery.data.kinds import fits, row_kind_named, row_kind_of
from tunery.data.lint import advice
from tunery.data.lint.options import CheckOptions
from tunery.data.llamafactory import ALPACA
from tunery.data.problems import Phrase, Problem, column_name, enumerated, say, visible
from tunery.data.sources.base import FileSource
from tunery.data.sources.delimited import DelimitedFile
from tunery.types import is_object

NAMES = frozenset(ALPACA).union(*(FORMATS.get(name).known for name in FORMATS))
"""Our names of the columns that a format reads, and LLaMA-Factory's names of them."""
PROMPTS = ("instruction", "input", "prompt", "system", "tools")


@dataclass(slots=True)
class Settled:
    """How the rows of a dataset are read.

    Args:
        format: The format; None if none fits.
        options: How rows are read, with resolved columns.
        file: Name of the first file, for problems.
        problems: Why the rows do not fit, or warnings.
        hopeless: Whether no row can be used because of its columns; rows are then only counted.
        used: Columns in the data that the format reads.
        prompts: The columns in the data that are not answers.
        escaped: Whether the texts of a batch are JSON instead of plain text.
        table: Whether the rows are from a table, in which a word may mean a missing value.
    """

    format: Format | None
    options: RowOptions
    file: str
    problems: list[Problem] = field(default_factory=list[Problem])
    hopeless: bool = False
    used: frozenset[str] = frozenset()
    prompts: frozenset[str] = frozenset()
    escaped: bool = True
    table: bool = False


def settle(
    dataset: Dataset,
    rows: Sequence[Any],
    source: FileSource,
    options: RowOptions,
    check: CheckOptions,
) -> Settled:
    """Choose the format and resolve the columns.

    Args:
        dataset: The dataset.
        rows: Its first rows.
        source: The file they are from.
        options: How rows are read, from settings and catalog.
        check: The settings of the check.

    Returns:
        How rows are read; ``problems`` says what does not fit.
    """
    sample = [row for row in rows if is_object(row)][:SAMPLE_ROWS]
    name = check.format or dataset.format
    settled = Settled(
        None, options, source.name, escaped=source.columns is None, table=source.is_table
    )
    if name is None:
        name = detect(sample, options)
    if name is None:
        settled.hopeless = True
        settled.problems.append(_no_format(sample, source, check))
        return settled
    options = check.renamed(options, name)
    if strange := [ours for ours in check.columns if ours not in NAMES]:
        settled.hopeless = True
        settled.problems += [_no_such_column(ours, name, source) for ours in strange]
        return settled
    present = {key for row in sample for key in row}
    settled.options = options = read_columns(FORMATS.get(name), present, options)
    if name == "alpaca" and dataset.source == "catalog" and _is_pretraining(sample, options):
        name = "text"
        settled.options = options = replace(
            options, columns={"text": options.column("instruction")}, only_named=True
        )
    settled.format = FORMATS.get(name)
    settled.used = frozenset(options.column(c) for c in settled.format.known) - {UNREAD}
    settled.prompts = frozenset(options.column(column) for column in PROMPTS)
    missing = [
        c
        for c in (options.column(r) for r in settled.format.required)
        if all(c not in row for row in sample)
    ]
    if missing and (len(sample) > 1 or check.format or dataset.format):
        settled.hopeless = True
        settled.problems.append(_misfit(sample, source, name, settled))
    elif check.wanted is not None and sample:
        kind, wanted = row_kind_of(settled.format.makes), row_kind_named(check.wanted)
        refused = fits(wanted, kind, settled.format.instead(sample[0], options))
        if refused is not None:
            settled.hopeless = True
            settled.problems.append(Problem(refused.code, source.name, refused.found, refused.fix))
        elif kind is not wanted:
            other = kind.mismatch(check.loss_on)
            if other is not None and other.code not in check.accept:
                settled.problems.append(Problem(other.code, source.name, other.found, other.fix))
    return settled


def _is_pretraining(sample: Sequence[dict[str, Any]], options: RowOptions) -> bool:
    """Whether an alpaca entry of LLaMA-Factory has only ``prompt``, which means plain text."""
    return "instruction" in options.columns and all(
        options.column("output") not in row for row in sample
    )


def _no_such_column(ours: str, format: str, source: FileSource) -> Problem:
    """Refuse a named column that no format has; other columns would be guessed instead of it."""
    known = FORMATS.get(format).known
    near = difflib.get_close_matches(ours, known, n=1, cutoff=0.7)
    return Problem(
        "E201",
        source.name,
        say("data.columns.{ours}: no format has such a column", ours=visible(ours, 40)),
        say("Did you mean {name}?", name=f"data.columns.{near[0]}")
        if near
        else say("Use one of the columns of format {format}: {names}.",
                 format=format, names=", ".join(known)),
        field=f"data.columns.{visible(ours, 40)}",
    )  # fmt: skip


def _columns(sample: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(str(key) for row in sample for key in row))
    return enumerated(map(column_name, names))


def _no_format(
    sample: Sequence[dict[str, Any]], source: FileSource, check: CheckOptions
) -> Problem:
    if isinstance(source, DelimitedFile) and check.header:
        mark = advice.delimiter(sample)
        fix = (
            say("Set the delimiter: --data.delimiter {delimiter}.", delimiter=mark)
            if mark and check.delimiter is None
            else advice.fix_without_format(sample)
        )
        if not mark and not advice.settings_for(sample):
            fix = say(
                "{fix} If the file has no header: --data.header false; its columns are 1, 2, 3.",
                fix=fix,
            )
        return Problem(
            "E143",
            source.name,
            _strange_header(sample),
            fix,
            line=1,
        )
    if not any(sample):
        return Problem(
            "E201",
            source.name,
            say("rows are empty objects"),
            say("Write the texts of each row: instruction and output, or messages."),
        )
    return Problem(
        "E201",
        source.name,
        _strange_rows(sample),
        advice.fix_without_format(sample),
    )


def _strange_header(sample: Sequence[dict[str, Any]]) -> Phrase:
    columns, known, unknown = _column_lists(sample)
    if not known:
        return say("the header has {columns}; no format has these columns", columns=columns)
    if not unknown:
        return say("the header has {columns}; no format has just these columns", columns=columns)
    return say(
        "the header has {columns}; known: {known}; not known: {unknown}",
        columns=columns,
        known=known,
        unknown=unknown,
    )


def _strange_rows(sample: Sequence[dict[str, Any]]) -> Phrase:
    columns, known, unknown = _column_lists(sample)
    if not known or not unknown:
        return say("no known format: rows have {columns}", columns=columns)
    return say(
        "no known format: rows have {columns}; known: {known}; not known: {unknown}",
        columns=columns,
        known=known,
        unknown=unknown,
    )


def _column_lists(sample: Sequence[dict[str, Any]]) -> tuple[str, str, str]:
    """The columns of rows as lists: all, those that some format reads, and the others."""
    formats = [FORMATS.get(name) for name in FORMATS]
    read = {name for each in formats for name in each.known}
    read |= {name for each in formats for usual in each.usual.values() for name in usual}
    names = list(dict.fromkeys(str(key) for row in sample for key in row))
    parts = (names, [n for n in names if n in read], [n for n in names if n not in read])
    columns, known, unknown = (enumerated(map(column_name, part)) for part in parts)
    return columns, known, unknown


def _misfit(
    sample: Sequence[dict[str, Any]],
    source: FileSource,
    name: str,
    settled: Settled,
) -> Problem:
    assert settled.format is not None
    needs = ", ".join(settled.options.column(column) for column in settled.format.required)
    found = say(
        "has {columns}; format {format} needs {needs}",
        columns=_columns(sample),
        format=name,
        needs=needs,
    )
    other = detect(sample, RowOptions())
    if other and other != name:
        fix = say("Did you mean --data.format {format}?", format=other)
    else:
        fix = advice.fix_for(sample, name, settled.options)
    return Problem("E201", source.name, found, fix)
