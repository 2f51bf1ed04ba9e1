"""One run as its page shows it: figures, phases, checkpoints, samples, why it failed.

Everything is read from the run folder at the time of the request. The page and the REST API return
the same answers; sentences are in the current language.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from tunery.config.methods import trains_scores
from tunery.errors import TuneryError
from tunery.i18n import retold
from tunery.measures import LOSS, Declared, Measure
from tunery.runs import manifest
from tunery.runs.curves import MOST_STEPS, RunLog, pick
from tunery.runs.diagnosis import ALARMING, Diagnosis, diagnose
from tunery.runs.events import measured
from tunery.runs.folder import RunFolder, open_run
from tunery.runs.status import RunStatus
from tunery.services import words
from tunery.services.runs import _metrics
from tunery.services.runs._lifecycle import failure
from tunery.services.runs._list import RunRow, rows_of, run_list
from tunery.services.runs._log import log_lines
from tunery.services.runs._phases import Phase, phases
from tunery.services.runs._tracking import Tracked, tracked
from tunery.services.runs._updates import cursor_of
from tunery.workers.log import Event


@dataclass(frozen=True)
class Checkpoint:
    """A saved state of a run.

    Args:
        step: The run's step.
        folder: Name of its folder.
        value: The deciding measure on held-out rows; None if it was not measured at this step.
        bytes: Total size of its files.
        best: Whether it is the best one.
        whole: Whether its manifest exists and is valid; the files are not read.
    """

    step: int
    folder: str
    value: float | None
    bytes: int
    best: bool
    whole: bool


@dataclass(frozen=True)
class Evaluation:
    """What was measured on held-out rows.

    Args:
        step: The run's step.
        values: Every declared measure; None if it was not taken.
        best: Whether it is the best so far.
    """

    step: int
    values: dict[str, float | None]
    best: bool


@dataclass(frozen=True)
class Sample:
    """The answers to one fixed prompt.

    Args:
        prompt: The prompt.
        answers: Oldest first: (step, stage, answer).
        cut: Step and stage of those that reached ``evaluate.max_new_tokens``.
    """

    prompt: str
    answers: list[tuple[int, str, str]]
    cut: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])


@dataclass(frozen=True)
class Failure:
    """Why a run failed.

    Args:
        sentence: The reason in one sentence.
        fix: What to do.
        lines: The last lines of its log.
        can_resume: Whether resuming makes sense.
    """

    sentence: str
    fix: str
    lines: list[str]
    can_resume: bool


@dataclass(frozen=True)
class RunView:
    """Everything that the page of a run shows, except the curves."""

    row: RunRow
    phases: list[Phase]
    checkpoints: list[Checkpoint]
    samples: list[Sample]
    warnings: list[str]
    failure: Failure | None
    diagnosis: Diagnosis | None
    declared: Declared
    evals: list[Evaluation]
    memory_bytes: float | None
    plan: dict[str, Any]
    rows: dict[str, Any]
    result: dict[str, Any]
    has_weights: bool
    cursor: str
    trackers: list[Tracked]
    worst: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def state(self) -> RunStatus:
        """The run's state."""
        return self.row.state

    @property
    def figures(self) -> list[tuple[str, str]]:
        """The loss, then the main measures: on held-out rows if there are any."""
        best, *others = self.declared.main
        told = [(LOSS.title, LOSS.shown(self.state.loss))]
        told.append((words.validation(best), best.shown(self.last(best))))
        for one in others:
            value = self.last(one)
            label = one.title if value is None else words.validation(one)
            told.append(
                (label, one.shown(self.state.at_step(one.name) if value is None else value))
            )
        return told

    @property
    def validation_label(self) -> str:
        """The label of the deciding measure on held-out rows."""
        return words.validation(self.declared.best)

    @property
    def best_label(self) -> str:
        """The label of its best value."""
        return words.best_validation(self.declared.best)

    @property
    def tables(self) -> list[Measure]:
        """The measures that its evaluations contain."""
        return [m for m in self.declared.measures if self.last(m) is not None]

    def last(self, measure: Measure) -> float | None:
        """The newest value of a measure on held-out rows."""
        values = [one.values[measure.name] for one in self.evals]
        return next((value for value in reversed(values) if value is not None), None)

    @property
    def share(self) -> float | None:
        """The progress as a fraction from 0 to 1."""
        return self.state.step / self.state.num_steps if self.state.num_steps else None

    @property
    def can_compare(self) -> bool:
        """Whether there are weights to chat with."""
        return not self.scores and (self.has_weights or any(c.whole for c in self.checkpoints))

    @property
    def scores(self) -> bool:
        """Whether it trains a reward model, which scores answers and writes none."""
        return trains_scores(self.state.method)


def view(name: str) -> RunView:
    """Gather what the page of a run shows.

    Raises:
        RunError: There is no such run.
    """
    folder = open_run(name)
    told = _metrics.run_log(folder)
    # The page asks because of a message on the live channel: the list's cached state may be old.
    run_list().look_again(folder.name)
    row = rows_of([folder.name])[0]
    state = row.state
    with told.lock:
        memory = [v for v in told.curves.values["memory_bytes"][-50:] if math.isfinite(v)]
    return RunView(
        row=row,
        phases=phases(told, state),
        checkpoints=saved(folder, told),
        samples=samples(told),
        warnings=list(dict.fromkeys(retold(e, "text") for e in told.of_type("warning"))),
        failure=why_failed(folder, state),
        diagnosis=judged(told, state),
        declared=told.declared,
        evals=evaluations(told),
        memory_bytes=memory[-1] if memory else None,
        plan=_fields(told.last("plan")),
        rows=_fields(told.last("rows")),
        result=_fields(told.last("result")) if state.status == "finished" else {},
        has_weights=folder.adapter_dir.is_dir() or folder.model_dir.is_dir(),
        cursor=cursor_of(told, told.seq, state),
        trackers=tracked(folder),
        worst=_worst(told),
    )


def evaluations(told: RunLog) -> list[Evaluation]:
    """What was measured on held-out rows, oldest first."""
    names = [measure.name for measure in told.declared.measures]
    found = [
        Evaluation(e["step"], {n: measured(e, n) for n in names}, best=bool(e.get("best")))
        for e in _metrics.evals(told)
    ]
    return [one for one in found if any(value is not None for value in one.values.values())]


def saved(folder: RunFolder, told: RunLog) -> list[Checkpoint]:
    """The checkpoints that are on disk now, newest first."""
    measure = told.declared.best
    values = {one.step: one.values[measure.name] for one in evaluations(told)}
    found: list[Checkpoint] = []
    for path in reversed(manifest.list_checkpoints(folder.checkpoints_dir)):
        step = manifest.step_of(path) or 0
        try:
            size = sum(entry["size"] for entry in manifest.read_manifest(path)["files"])
            whole = True
        except TuneryError:
            size, whole = 0, False
        found.append(Checkpoint(step, path.name, values.get(step), size, best=False, whole=whole))
    best: Checkpoint | None = None
    for one in found:
        if one.value is None or not one.whole or one.step == 0:
            continue
        if best is None or best.value is None or not measure.is_better(best.value, one.value):
            best = one
    return [replace(c, best=c is best) for c in found]


def samples(told: RunLog) -> list[Sample]:
    """The fixed prompts with their answers; what a resumed run repeated counts once."""
    answers: dict[str, dict[tuple[int, str], Event]] = {}
    for event in told.of_type("sample"):
        answers.setdefault(str(event["prompt"]), {})[event["step"], str(event["stage"])] = event
    order = {"before": 0, "eval": 1, "after": 2}
    found: list[Sample] = []
    for prompt, mine in answers.items():
        ordered = sorted(mine.items(), key=lambda i: (i[0][0], order.get(i[0][1], 1)))
        cut = {place for place, event in ordered if event.get("stopped") is False}
        told_of = [(step, stage, str(event["answer"])) for (step, stage), event in ordered]
        found.append(Sample(prompt, told_of, cut))
    return found


def judged(told: RunLog, state: RunStatus) -> Diagnosis | None:
    """What the curves mean, in words; for an active run only what requires action."""
    with told.lock:
        curves = told.curves
        places = pick(curves.values["loss"], 0, len(curves), MOST_STEPS)
        steps = [
            {"type": "step", "step": curves.step[i], "loss": curves.values["loss"][i]}
            for i in places
        ]
    if not steps:
        return None
    beside = [*told.of_type("plan")[-1:], *told.of_type("checkpoint", "result")]
    finding = diagnose([*beside, *steps, *_metrics.evals(told)])
    alarming = finding.kind in ALARMING
    if state.status == "finished" or (alarming and len(steps) > 20):
        return finding
    return None


def why_failed(folder: RunFolder, state: RunStatus) -> Failure | None:
    """Why a run failed; None for one that succeeded, was stopped, or is still active."""
    error = failure(state)
    if error is None:
        return None
    lines, _, _ = log_lines(folder.worker_log, tail=30)
    return Failure(error.message, error.fix, lines, can_resume=state.exit_status != 2)


def _worst(told: RunLog) -> list[dict[str, Any]]:
    """Validation rows with the highest loss, if the newest evaluation names them."""
    for event in reversed(told.of_type("eval")):
        if isinstance(event.get("worst"), list):
            return event["worst"]
    return []


def _fields(event: Event | None) -> dict[str, Any]:
    head = ("seq", "time", "clock", "type", "phrases")
    return {k: v for k, v in (event or {}).items() if k not in head}
