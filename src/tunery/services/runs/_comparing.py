"""Two to six runs beside each other: settings that differ, results with the best one marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunery.config.load import read_frozen
from tunery.errors import RunError
from tunery.i18n import t
from tunery.runs.folder import RunFolder, open_run
from tunery.services.runs import _metrics
from tunery.services.runs._list import RunRow, rows_of
from tunery.services.runs._view import samples
from tunery.services.settings import flat, written

LEAST, MOST = 2, 6
OWN = ("preset",)
"""Settings that say nothing by themselves."""

Unit = Literal["number", "seconds", "count"]


@dataclass(frozen=True)
class SettingLine:
    """A setting with its value in each run; an empty text where a run has no such setting."""

    path: str
    values: list[str]
    differs: bool


@dataclass(frozen=True)
class ResultLine:
    """A result of each run.

    Args:
        key: Stable name.
        label: In the language in force.
        unit: How it is written.
        values: One a run; None where there is none.
        best: Places of the best values; empty where more is neither good nor bad.
        deltas: Difference to the baseline, one a run; None for the baseline and where unknown.
    """

    key: str
    label: str
    unit: Unit
    values: list[float | None]
    best: list[int]
    deltas: list[float | None]

    @property
    def one(self) -> float | None:
        """A value that all runs share, None where they differ."""
        return self.values[0] if len(set(self.values)) == 1 else None


@dataclass(frozen=True)
class PromptLine:
    """A fixed prompt: the answer before training and the last one of each run."""

    prompt: str
    before: str
    answers: list[str]


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other, in the order of their names' places in the address.

    Args:
        runs: Their rows.
        baseline: Place of the one that deltas refer to, None for none.
        settings: Every setting, those that differ first.
        results: What came of each.
        prompts: The answers.
    """

    runs: list[RunRow]
    baseline: int | None
    settings: list[SettingLine]
    results: list[ResultLine]
    prompts: list[PromptLine]

    @property
    def differing(self) -> list[SettingLine]:
        """The settings that differ."""
        return [line for line in self.settings if line.differs]


def compare(names: Sequence[str]) -> Comparison:
    """Put runs beside each other.

    Args:
        names: Two to six runs; a name given twice counts once.

    Raises:
        RunError: There are fewer or more, or one does not exist.
    """
    chosen = list(dict.fromkeys(names))
    if not LEAST <= len(chosen) <= MOST:
        raise RunError(
            t("{count} runs cannot be compared; choose {least} to {most}.",
              count=len(chosen), least=LEAST, most=MOST),
            fix=t("Select them in the list of runs."),
            code="how_many",
        )  # fmt: skip
    folders = [open_run(name) for name in chosen]
    rows = rows_of([folder.name for folder in folders])
    logs = [_metrics.run_log(folder) for folder in folders]
    baseline = next((i for i, row in enumerate(rows) if row.marks.baseline), None)
    return Comparison(
        rows, baseline, _settings(folders), _results(rows, logs, baseline), _prompts(logs)
    )


def _settings(folders: Sequence[RunFolder]) -> list[SettingLine]:
    columns = [flat(read_frozen(folder.config_file)) for folder in folders]
    paths = [p for p in dict.fromkeys(p for c in columns for p in c) if p not in OWN]
    lines: list[SettingLine] = []
    for path in paths:
        values = [written(c[path]) if path in c else "" for c in columns]
        lines.append(SettingLine(path, values, differs=len(set(values)) > 1))
    return lines


def _results(
    rows: Sequence[RunRow], logs: Sequence[_metrics.RunLog], baseline: int | None
) -> list[ResultLine]:
    columns = [_measures(row, told) for row, told in zip(rows, logs, strict=True)]
    kinds: list[tuple[str, str, Unit, Literal["low", "high", ""]]] = [
        ("loss", t("Final loss"), "number", "low"),
        ("best", t("Best validation loss"), "number", "low"),
        ("val", t("Last validation loss"), "number", "low"),
        ("forgetting", t("Forgetting"), "number", "low"),
        ("steps", t("Steps"), "count", ""),
        ("tokens", t("Tokens"), "count", ""),
        ("seconds", t("Time"), "seconds", ""),
        ("speed", t("Tokens/s"), "count", "high"),
        ("memory", t("Memory"), "count", "low"),
    ]
    lines: list[ResultLine] = []
    for key, label, unit, good in kinds:
        values = [column.get(key) for column in columns]
        if all(value is None for value in values):
            continue
        lines.append(
            ResultLine(key, label, unit, values, _best(values, good), _deltas(values, baseline))
        )
    return lines


def _measures(row: RunRow, told: _metrics.RunLog) -> dict[str, float | None]:
    with told.lock:
        curves = told.curves
        losses = [v for v in curves.values["loss"][-10:] if math.isfinite(v)]
        memory = [v for v in curves.values["memory_bytes"] if math.isfinite(v)]
        tokens = curves.axes["tokens"][-1] if len(curves) else None
        seconds = curves.axes["time"][-1] if len(curves) else None
    evals = [e for e in _metrics.evals(told) if e["loss"] is not None]
    forgetting = [e["forgetting"] for e in _metrics.evals(told) if e.get("forgetting") is not None]
    return {
        "loss": sum(losses) / len(losses) if losses else None,
        "best": row.facts.best_loss,
        "val": evals[-1]["loss"] if evals else None,
        "forgetting": forgetting[-1] if forgetting else None,
        "steps": row.state.step or None,
        "tokens": tokens,
        "seconds": seconds,
        "speed": tokens / seconds if tokens and seconds else None,
        "memory": max(memory) if memory else None,
    }


def _best(values: Sequence[float | None], good: str) -> list[int]:
    there = [v for v in values if v is not None]
    if not good or len(there) < 2 or len(set(there)) == 1:
        return []
    wanted = min(there) if good == "low" else max(there)
    # What looks equal on the screen is equally good; if all look equal, none is the best.
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


def _prompts(logs: Sequence[_metrics.RunLog]) -> list[PromptLine]:
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
        "results": [vars(line) for line in found.results],
        "prompts": [vars(line) for line in found.prompts],
    }
