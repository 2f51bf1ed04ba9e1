"""What is said of one row: where its problem stands, and what is odd about it though it works."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tunery.data.formats import RowOptions
from tunery.data.formats.detect import best
from tunery.data.lint.settle import Settled
from tunery.data.lint.view import View
from tunery.data.problems import Problem, RowProblem, say, visible
from tunery.data.sources.jsonlines import OutOfRange
from tunery.types import Conversation


def placed(error: RowProblem, view: View, i: int, settled: Settled) -> Problem:
    """Give a row's problem its place; a row of another format is told apart from a broken one."""
    assert settled.format is not None
    required = {settled.options.column(name) for name in settled.format.required}
    if error.code == "E301" and error.field in required:
        other, score = best(view.batch.rows[i], RowOptions())
        if other and other != settled.format.name and score > 0.5:
            return view.problem(
                "E202",
                i,
                say(
                    "the file began as {first}, this row is {other}",
                    first=settled.format.name,
                    other=other,
                ),
                say("Split the file: one format in each."),
            )
    return view.problem(error.code, i, error.found, error.fix, field=error.field)


def remarks(view: View, i: int, example: Conversation) -> Iterator[Problem]:
    """Say what is odd about the order of a conversation that can be used."""
    roles = [message.role for message in example.messages if message.role != "system"]
    if roles[-1] == "user":
        yield view.problem(
            "W711",
            i,
            say("the last message is the user's; it is not trained"),
            say("Add the answer, or remove the message."),
        )
    if roles[0] == "assistant":
        yield view.problem(
            "W712",
            i,
            say("the conversation begins with the assistant"),
            say("Some templates need a user message first; add one if yours does."),
        )


def out_of_range(view: View, i: int, row: OutOfRange, settled: Settled) -> Problem | None:
    """Warn of a number that no computer type holds, in a field that is not read anyway."""
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
