"""Rank runs by one of their measures, the best first."""

from __future__ import annotations

from dataclasses import dataclass

from tunery.errors import UnknownName, did_you_mean
from tunery.i18n import joined, t
from tunery.measures import Measure
from tunery.services.runs._list import RunRow, rows_of, run_list

HELD_OUT = "eval_"
"""Prefix of a measure's name for its value on held-out rows."""


@dataclass(frozen=True)
class Ranked:
    """Runs in order of a measure.

    Args:
        rows: The runs that have a value, the best first.
        values: Their values.
        measure: The measure.
        held_out: Whether the values are those on held-out rows: of the deciding measure the best
            one, of another the last one.
        without: Number of runs without a value.
    """

    rows: list[RunRow]
    values: list[float]
    measure: Measure
    held_out: bool
    without: int


def ranked(name: str) -> Ranked:
    """Rank all runs.

    Args:
        name: A measure, such as ``loss``, ``eval_loss`` or ``eval_reward_accuracy``.

    Raises:
        UnknownName: No run has it, or neither a high nor a low value of it is better.
    """
    rows = rows_of([state.name for state in run_list().look()])
    plain = name.removeprefix(HELD_OUT)
    known = {m.name: m for row in rows for m in row.state.declared.measures if m.better}
    if plain not in known:
        names = [prefix + each for prefix in ("", HELD_OUT) for each in sorted(known)]
        listed = t("Available: {names}.", names=", ".join(names)) if names else ""
        raise UnknownName(
            t("{name}: no run can be ranked by this.", name=name),
            fix=joined(did_you_mean(name, names), listed),
        )
    measure, held_out = known[plain], name.startswith(HELD_OUT)
    found = [(value, row) for row in rows if (value := _value(row, measure, held_out)) is not None]
    found.sort(key=lambda pair: pair[0], reverse=measure.better == "high")
    return Ranked(
        [row for _, row in found],
        [value for value, _ in found],
        measure,
        held_out,
        len(rows) - len(found),
    )


def _value(row: RunRow, measure: Measure, held_out: bool) -> float | None:
    if measure.name not in {each.name for each in row.state.declared.measures}:
        return None
    if not held_out:
        return row.state.at_step(measure.name)
    if row.state.declared.best.name == measure.name and row.facts.best_value is not None:
        return row.facts.best_value
    return row.state.at_eval(measure.name)
