"""Diagnose a run from its curves. Light and pure: events in, translated sentences out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunery.i18n import joined, t
from tunery.measures import Declared
from tunery.runs.events import measured
from tunery.workers.log import Event, number

Kind = Literal[
    "too short", "under-fit", "healthy", "over-fit", "memorising", "past best", "diverging"
]

ALARMING: tuple[Kind, ...] = ("over-fit", "past best", "diverging")
"""Findings that should be acted on while the run is active."""
WORSE_BY = 0.02
"""Difference from the best evaluation that counts as worse; for a loss, in nats per token."""
WORSE_SHARE = 0.1
"""The same for other measures, as a fraction of the improvement from the first to the best."""
MIN_STEPS = 10
"""Minimum number of steps to judge a curve; fewer only show whether the loss diverged."""
DIVERGED_RATIO = 1.5
"""Ratio of the last loss to the first that counts as divergence within so few steps."""
FORGETTING_REPORTED = 0.3
"""Loss of log-probability of general answers, in nats per token, that is reported with advice."""
FORGETTING_NOISE = 0.02
"""Loss of log-probability of general answers, in nats per token, that counts as unchanged."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The diagnosis of a run.

    Args:
        kind: The finding, a stable English identifier.
        words: The finding and its figures, translated.
        advice: What to try next, translated.
        best_step: Step of the best evaluation; None without evaluations.
        forgetting: Loss of log-probability of general answers, in nats per token; None if not
            measured.
    """

    kind: Kind
    words: str
    advice: str
    best_step: int | None
    forgetting: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json`` and the run's result event."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The curves that a diagnosis is based on.

    Args:
        declared: The run's measures.
        losses: Training loss of each step.
        evals: Step and value of the run's best measure, for each evaluation.
        saved: Steps with a checkpoint.
        result: Step whose weights are the result; None while there is none.
        max_steps: The run's ``train.max_steps``, which ended it; None if its epochs did.
        skipped: Steps that changed nothing, for a loss or gradient that is not finite.
        steps: Number of all steps; of a long run, only some of them are among ``losses``.
    """

    declared: Declared
    losses: list[float]
    evals: list[tuple[int, float]]
    saved: frozenset[int] = frozenset()
    result: int | None = None
    max_steps: int | None = None
    skipped: frozenset[int] = frozenset()
    steps: int = 0

    @property
    def best(self) -> tuple[int, float]:
        """Step and value of the best evaluation; the earliest of equal ones."""
        found = self.evals[0]
        for each in self.evals[1:]:
            if self.declared.best.is_better(each[1], found[1]):
                found = each
        return found

    def got_worse(self) -> bool:
        """Whether the last evaluation is clearly worse than the best one."""
        if not self.evals:
            return False
        (_, best), (_, last), (_, first) = self.best, self.evals[-1], self.evals[0]
        least = (
            WORSE_BY if self.declared.per_token else max(WORSE_BY, WORSE_SHARE * abs(best - first))
        )
        return self.declared.best.is_better(best, last) and abs(best - last) > least


def diagnose(events: Sequence[Event]) -> Diagnosis:
    """Diagnose a run from its plan, step, eval, checkpoint and result events.

    Args:
        events: All events of the run, in order.
    """
    plan = next((e for e in reversed(events) if e["type"] == "plan"), None)
    declared = Declared.of(plan)
    losses = [measured(e, "loss") for e in events if e["type"] == "step"]
    name = declared.best.name
    evals = [(e["step"], measured(e, name)) for e in events if e["type"] == "eval"]
    seen = _Evidence(
        declared,
        [loss for loss in losses if loss is not None],
        [(step, value) for step, value in evals if value is not None],
        frozenset(int(e["step"]) for e in events if e["type"] == "checkpoint"),
        next((e.get("step") for e in reversed(events) if e["type"] == "result"), None),
        plan.get("max_steps") if plan is not None else None,
        frozenset(int(e["step"]) for e in events if e["type"] == "anomaly"),
        max((int(e["step"]) for e in events if e["type"] == "step"), default=0),
    )
    forgotten = [x for e in events if (x := number(e.get("forgetting"))) is not None]
    forgetting = forgotten[-1] if forgotten else None
    kind = _kind(seen)
    words, advice = _words(kind, seen)
    if seen.skipped and seen.steps:
        words = joined(
            words,
            t("Skipped steps: {n:,} of {all:,}, whose loss or gradient was not finite.",
              n=len(seen.skipped), all=seen.steps),
        )  # fmt: skip
    if forgetting is not None and forgetting > FORGETTING_REPORTED:
        lost = t(
            "General answers became less likely by {x:.2f} nats per token: the model is "
            "forgetting.",
            x=forgetting,
        )
        words = joined(words, lost)
        less = t(
            "To reduce forgetting, raise data.replay.num_prompts, lower "
            "optim.learning_rate, or train for fewer epochs."
        )
        advice = joined(advice, less)
    best = seen.best[0] if seen.evals else None
    return Diagnosis(kind, words.strip(), advice.strip(), best, forgetting)


def smooth(values: Sequence[float], *, half_life: float = 3.0) -> list[float]:
    """Exponential moving average that ignores non-finite values.

    Args:
        values: The values.
        half_life: Number of points after which the weight of a value is halved.
    """
    keep = 0.5 ** (1.0 / half_life)
    mean, smoothed = values[0] if values else 0.0, list[float]()
    for value in values:
        mean = keep * mean + (1 - keep) * value if math.isfinite(value) else mean
        smoothed.append(mean)
    return smoothed


def _kind(seen: _Evidence) -> Kind:
    if len(seen.losses) < MIN_STEPS:
        return "diverging" if _has_diverged(seen.losses) else "too short"
    losses = smooth(seen.losses)
    first, last, lowest = losses[0], losses[-1], min(losses)
    if not all(map(math.isfinite, seen.losses[-3:])) or last > first * 1.1:
        return "diverging"
    if last > lowest + max(0.5, lowest):
        return "diverging"
    if not seen.declared.per_token:
        return "past best" if seen.got_worse() else "healthy" if last < first else "under-fit"
    if seen.got_worse():
        return "memorising" if last < 0.1 else "over-fit"
    tail = losses[-max(3, len(losses) // 5) :]
    still_falling = tail[0] - tail[-1] > 0.1 * max(tail[0], 1e-6)
    if last > 0.85 * first or (still_falling and last > 0.5 * first):
        return "under-fit"
    if not seen.evals and last < 0.05:
        return "memorising"
    return "healthy"


def _has_diverged(losses: Sequence[float]) -> bool:
    """Whether fewer than ``MIN_STEPS`` losses already show divergence."""
    if not all(map(math.isfinite, losses)):
        return True
    return len(losses) > 1 and losses[-1] > max(DIVERGED_RATIO * losses[0], losses[0] + 1)


def _words(kind: Kind, seen: _Evidence) -> tuple[str, str]:
    if kind == "too short":
        return (
            t("The run had only {n} steps: too few to judge the curve.", n=len(seen.losses)),
            t("Raise train.max_steps (now {n}).", n=seen.max_steps)
            if seen.max_steps is not None
            else t("Train for more epochs or with a smaller train.batch_size."),
        )
    head, advice = _finding(kind, seen)
    return " ".join([head, *_figures(seen)]), advice


def _figures(seen: _Evidence) -> list[str]:
    losses, best = seen.losses, seen.declared.best
    lines = [t("The training loss went from {a:.3f} to {b:.3f}.", a=losses[0], b=losses[-1])]
    if seen.evals:
        step, value = seen.best
        lines.append(
            t(
                "The validation {measure} was best at the end ({a}).",
                measure=best.inside,
                a=best.shown(value),
            )
            if step == seen.evals[-1][0]
            else t(
                "The validation {measure} was best at step {step} ({a}) and ended at {b}.",
                measure=best.inside,
                step=step,
                a=best.shown(value),
                b=best.shown(seen.evals[-1][1]),
            )
        )
    return lines


def _past_best(seen: _Evidence) -> str:
    """The advice for a run whose evaluations got worse after the best one."""
    best = seen.best[0]
    if seen.result == best:
        return t(
            "The result is already the best step. To improve it, train on more varied rows "
            "or lower optim.learning_rate."
        )
    if best in seen.saved:
        return t("Use the best checkpoint, train for fewer epochs, or add more varied rows.")
    return t("Train for fewer epochs, or add more varied rows.")


def _finding(kind: Kind, seen: _Evidence) -> tuple[str, str]:
    match kind:
        case "diverging":
            return (
                t("Diverging: the loss rose instead of falling."),
                t("Try a third of optim.learning_rate, or a longer optim.warmup_ratio."),
            )
        case "under-fit":
            return (
                t("Underfitting: the model had not learned enough when the run ended."),
                t(
                    "Raise train.max_steps (now {n}), optim.learning_rate or adapter.rank.",
                    n=seen.max_steps,
                )
                if seen.max_steps is not None
                else t("Train for more epochs, or raise optim.learning_rate or adapter.rank."),
            )
        case "over-fit":
            return (
                t("Overfitting: the validation loss rose again after its lowest point."),
                _past_best(seen),
            )
        case "past best":
            return (
                t("Past its best: the evaluation results got worse again."),
                _past_best(seen),
            )
        case "memorising":
            return (
                t("Memorizing: the model has learned the rows by heart."),
                t(
                    "Fine for teaching an identity; for a skill, train for fewer epochs "
                    "or on more rows."
                ),
            )
        case _:
            return (
                t("Healthy: the loss fell and leveled off."),
                t("Compare the answers before and after, then export.")
                if seen.declared.writes
                else t("Score some answers with it."),
            )
