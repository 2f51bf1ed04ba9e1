"""Compare two to six runs: settings that differ, and results with the best one marked."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunery.config.load import read_frozen
from tunery.errors import RunError
from tunery.i18n import t
from tunery.measures import LOSS, Better, Measure
from tunery.runs.curves import RunLog
from tunery.runs.events import measured
from tunery.runs.folder import RunFolder, open_run
from tunery.services import words
from tunery.services.runs import _metrics
from tunery.services.runs._list import RunRow, rows_of
from tunery.services.runs._view import samples
from tunery.services.settings import flat, written

LEAST, MOST = 2, 6
OWN = ("preset",)
"""Settings that carry no meaning of their own."""

FORGETTING = Measure("forgetting", "Forgetting", better="low")
Unit = Literal["number", "seconds", "count", "bytes"]


@dataclass(frozen=True)
class SettingLine:
    """A setting with its value in each run; empty if a run has no such setting."""

    path: str
    values: list[str]
    differs: bool


@dataclass(frozen=True)
class ResultLine:
    """A result of each run.

    Args:
        key: Stable identifier.
        label: In the current language.
        unit: How it is formatted, unless a measure determines that.
        values: One per run; None if there is none.
        best: Indices of the best values; empty if neither high nor low is better.
        deltas: Difference from the baseline, one per run; None for the baseline and if unknown.
        measure: The measure it is a value of; None for what every run has, such as its time.
        better: Whether lower or higher is better; empty if neither.
    """

    key: str
    label: str
    unit: Unit
    values: list[float | None]
    best: list[int]
    deltas: list[float | None]
    measure: Measure | None = None
    better: Better = ""

    def shown(self, value: float) -> str:
        """Format a value as its measure does."""
        return (self.measure or LOSS).shown(value)

    def delta(self, place: int) -> tuple[str, str] | None:
        """A run's difference from the baseline: formatted, and ``good``, ``bad`` or empty."""
        value = self.deltas[place]
        if self.measure is None or value is None:
            return None
        goodness = {"low": -value, "high": value}.get(self.better, 0.0)
        kind = "good" if goodness > 0 else "bad" if goodness < 0 else ""
        return self.measure.shown(value, signed=True), kind

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the REST API."""
        return {**vars(self), "measure": self.measure.as_dict() if self.measure else None}

    @property
    def one(self) -> float | None:
        """The value if all runs share it, None if they differ."""
        return self.values[0] if len(set(self.values)) == 1 else None


@dataclass(frozen=True)
class PromptLine:
    """A fixed prompt: the answer before training, and the last one from each run."""

    prompt: str
    before: str
    answers: list[str]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, in the order of their names in the URL.

    Args:
        runs: Their rows.
        baseline: Index of the run that deltas refer to; None if there is none.
        settings: Every setting, those that differ first.
        results: The results of each run.
        prompts: The answers to the fixed prompts.
        measures: All measures that any of them declares.
    """

    runs: list[RunRow]
    baseline: int | None
    settings: list[SettingLine]
    results: list[ResultLine]
    prompts: list[PromptLine]
    measures: list[Measure]

    @property
    def differing(self) -> list[SettingLine]:
        """The settings whose values differ."""
        return [line for line in self.settings if line.differs]


def compare(names: Sequence[str]) -> Comparison:
    """Compare runs side by side.

    Args:
        names: Two to six runs; a name given twice counts once.

    Raises:
        RunError: There are fewer or more, or one does not exist.
    """
    chosen = list(dict.fromkeys(names))
    if len(chosen) < LEAST <= len(names):
        raise RunError(
            t("{name} is named {count} times; a run is compared with others.",
              name=chosen[0], count=len(names)),
            fix=t("Choose them from the list: tunery runs list"),
            code="how_many",
        )  # fmt: skip
    if not LEAST <= len(chosen) <= MOST:
        raise RunError(
            t("{count} runs cannot be compared; choose {least} to {most}.",
              count=len(chosen), least=LEAST, most=MOST),
            fix=t("Choose them from the list: tunery runs list"),
            code="how_many",
        )  # fmt: skip
    folders = [open_run(name) for name in chosen]
    rows = rows_of([folder.name for folder in folders])
    logs = [_metrics.run_log(folder) for folder in folders]
    baseline = next((i for i, row in enumerate(rows) if row.marks.baseline), None)
    measures = list({m.name: m for told in logs for m in told.declared.measures}.values())
    results = _results(rows, logs, baseline, measures)
    return Comparison(rows, baseline, _settings(folders), results, _prompts(logs), measures)


def loss_curve(name: str, points: int) -> list[float]:
    """The training loss of a run as at most ``points`` means over equally many steps each.

    Raises:
        RunError: The run does not exist.
    """
    told = _metrics.run_log(open_run(name))
    with told.lock:
        values = [value for value in told.curves.values["loss"] if math.isfinite(value)]
    count = min(points, len(values))
    ends = [len(values) * place // count for place in range(count + 1)] if count else [0]
    return [statistics.fmean(values[a:b]) for a, b in itertools.pairwise(ends)]


def _settings(folders: Sequence[RunFolder]) -> list[SettingLine]:
    columns = [flat(read_frozen(folder.config_file)) for folder in folders]
    paths = [p for p in dict.fromkeys(p for c in columns for p in c) if p not in OWN]
    lines: list[SettingLine] = []
    for path in paths:
        values = [written(c[path]) if path in c else "" for c in columns]
        lines.append(SettingLine(path, values, differs=len(set(values)) > 1))
    return lines


def _results(
    rows: Sequence[RunRow],
    logs: Sequence[RunLog],
    baseline: int | None,
    measures: Sequence[Measure],
) -> list[ResultLine]:
    columns = [_values(row, told) for row, told in zip(rows, logs, strict=True)]
    kinds: list[tuple[str, str, Unit, Better, Measure | None]] = [
        *(kind for measure in measures for kind in _of_measure(measure)),
        ("forgetting", t("Forgetting"), "number", "low", FORGETTING),
        ("steps", t("Steps"), "count", "", None),
        ("tokens", t("Tokens"), "count", "", None),
        ("seconds", t("Time"), "seconds", "", None),
        ("speed", t("Tokens/s"), "count", "high", None),
        ("memory", t("Memory"), "bytes", "low", None),
    ]
    lines: list[ResultLine] = []
    for key, label, unit, better, measure in kinds:
        values = [column.get(key) for column in columns]
        if any(value is not None for value in values):
            best, deltas = _best(values, better), _deltas(values, baseline)
            lines.append(ResultLine(key, label, unit, values, best, deltas, measure, better))
    return lines


def _of_measure(measure: Measure) -> list[tuple[str, str, Unit, Better, Measure | None]]:
    name, inside, better = measure.name, measure.inside, measure.better
    return [
        (name, t("Final {measure}", measure=inside), "number", better, measure),
        (f"best_{name}", words.best_validation(measure), "number", better, measure),
        (f"val_{name}", t("Last validation {measure}", measure=inside), "number", better, measure),
    ]


def _values(row: RunRow, told: RunLog) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    evals = _metrics.evals(told)
    with told.lock:
        curves = told.curves
        for name in (measure.name for measure in told.declared.measures):
            values[name] = row.state.at_step(name)  # as on the run's page and in its report
            held_out = [v for e in evals if (v := measured(e, name)) is not None]
            values[f"val_{name}"] = held_out[-1] if held_out else None
        values[f"best_{told.declared.best.name}"] = row.facts.best_value
        memory = [v for v in curves.values["memory_bytes"] if math.isfinite(v)]
        tokens = curves.axes["tokens"][-1] if len(curves) else None
        seconds = curves.axes["time"][-1] if len(curves) else None
    forgetting = [e["forgetting"] for e in evals if e.get("forgetting") is not None]
    return {
        **values,
        "forgetting": forgetting[-1] if forgetting else None,
        "steps": row.state.step or None,
        "tokens": tokens,
        "seconds": row.state.duration_seconds,
        "speed": tokens / seconds if tokens and seconds else None,
        "memory": max(memory) if memory else None,
    }


def _best(values: Sequence[float | None], good: Better) -> list[int]:
    there = [v for v in values if v is not None]
    if not good or len(there) < 2 or len(set(there)) == 1:
        return []
    wanted = min(there) if good == "low" else max(there)
    # Values that look equal on the screen are equally good; if all look equal, none is the best.
    near = [
        i for i, v in enumerate(values) if v is not None and math.isclose(v, wanted, rel_tol=5e-4)
    ]
    return near if len(near) < len(there) else []


def _deltas(values: Sequence[float | None], baseline: int | None) -> list[float | None]:
    base = values[baseline] if baseline is not None else None
    return [
        value - base if base is not None and value is not None and i != baseline else None
        for i, value in enumerate(values)
    ]


def _prompts(logs: Sequence[RunLog]) -> list[PromptLine]:
    columns = [{s.prompt: s.answers for s in samples(told)} for told in logs]
    lines: list[PromptLine] = []
    for prompt in dict.fromkeys(p for c in columns for p in c):
        answers = [c.get(prompt, []) for c in columns]
        before = next((a[2] for mine in answers for a in mine if a[1] == "before"), "")
        after = [next((a[2] for a in reversed(m) if a[1] != "before"), "") for m in answers]
        lines.append(PromptLine(prompt, before, after))
    return lines


def comparison_as_dict(found: Comparison) -> dict[str, Any]:
    """Plain data for the REST API."""
    return {
        "runs": [row.as_dict() for row in found.runs],
        "baseline": found.baseline,
        "settings": [vars(line) for line in found.settings],
        "results": [line.as_dict() for line in found.results],
        "prompts": [vars(line) for line in found.prompts],
    }
