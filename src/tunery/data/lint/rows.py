"""Problems of a single row: where an error is, and a warning about numbers out of range."""

from __future__ import annotations

import math

from tunery.data.formats import RowOptions
from tunery.data.formats.detect import best
from tunery.data.lint.settle import Settled
from tunery.data.lint.view import View
from tunery.data.problems import Problem, RowProblem, say, visible
from tunery.data.sources.jsonlines import OutOfRange


def placed(error: RowProblem, view: View, i: int, settled: Settled) -> Problem:
    """Add the location to a row's problem; E202 if the row has another format than the first."""
    assert settled.format is not None
    required = {settled.options.column(name) for name in settled.format.required}
    if error.code == "E301" and error.field in required:
        other, score = best(view.batch.rows[i], RowOptions())
        if other and other != settled.format.name and score > 0.5:
            return view.problem(
                "E202",
                i,
                say(
                    "the file starts as {first}, this row is {other}",
                    first=settled.format.name,
                    other=other,
                ),
                say("Split the file: one format per file."),
            )
    return view.problem(error.code, i, error.found, error.fix, field=error.field)


def out_of_range(view: View, i: int, row: OutOfRange, settled: Settled) -> Problem | None:
    """Warn about a number too large for any numeric type, in a field that is not read."""
    for key, value in row.items():
        if key in settled.used or not isinstance(value, int | float):
            continue
        huge = math.isinf(value) if isinstance(value, float) else not -(2**63) <= value < 2**64
        if huge:
            return view.problem(
                "E126",
                i,
                say(
                    "field {field}: number out of range ({number}); the field is not used",
                    field=key,
                    number=visible(row.numbers[0], 30),
                ),
                say("Write it as text if it matters."),
                field=key,
                level="warn",
            )
    return None
