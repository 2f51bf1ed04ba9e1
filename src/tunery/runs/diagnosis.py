"""What a finished run's curves mean, in words. Light and pure: events in, sentences out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunery.i18n import t

Kind = Literal["too short", "under-fit", "healthy", "over-fit", "memorising", "diverging"]

RISE = 0.02
"""An evaluation loss this much (nats) above the best one counts as risen."""
FORGOT = 0.3
"""Nats a token by which general answers became less likely that call for a remedy."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A judgement on a run.

    Args:
        kind: The finding, a stable English word for machines.
        words: What was seen, in the language in force.
        advice: What to try next.
        best_step: Step with the lowest evaluation loss, None without evaluations.
        forgetting: Nats a token that general answers lost; None if not measured.
    """

    kind: Kind
    words: str
    advice: str
    best_step: int | None
    forgetting: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json`` and the run's result event."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def diagnose(events: Sequence[dict[str, Any]]) -> Diagnosis:
    """Judge a run by its step and eval events.

    Args:
        events: All events of the run, in order.
    """
    steps = [e for e in events if e["type"] == "step" and e.get("loss") is not None]
    evals = [e for e in events if e["type"] == "eval" and e.get("loss") is not None]
    best = min(evals, key=lambda e: e["loss"])["step"] if evals else None
    measured = [e["forgetting"] for e in events if e.get("forgetting") is not None]
    forgetting = measured[-1] if measured else None
    kind = _kind(steps, evals)
    words, advice = _words(kind, steps, evals)
    if forgetting is not None and forgetting > FORGOT:
        words += " " + t(
            "General answers became less likely by {x:.2f} nats a token: the model forgets.",
            x=forgetting,
        )
        advice += " " + t(
            "Against forgetting: more data.replay.num_prompts, a lower optim.learning_rate, or "
            "fewer epochs."
        )
    return Diagnosis(kind, words.strip(), advice.strip(), best, forgetting)


def smooth(values: Sequence[float], *, half_life: float = 3.0) -> list[float]:
    """Exponential moving average; a value's weight halves every ``half_life`` points."""
    keep = 0.5 ** (1.0 / half_life)
    mean, smoothed = values[0] if values else 0.0, list[float]()
    for value in values:
        mean = keep * mean + (1 - keep) * value if math.isfinite(value) else mean
        smoothed.append(mean)
    return smoothed


def _kind(steps: Sequence[dict[str, Any]], evals: Sequence[dict[str, Any]]) -> Kind:
    if len(steps) < 5:
        return "too short"
    losses = smooth([float(e["loss"]) for e in steps])
    first, last, lowest = losses[0], losses[-1], min(losses)
    if not all(math.isfinite(float(e["loss"])) for e in steps[-3:]) or last > first * 1.1:
        return "diverging"
    if last > lowest + max(0.5, lowest):
        return "diverging"
    if evals:
        final, best = evals[-1]["loss"], min(e["loss"] for e in evals)
        if final > best + RISE:
            return "memorising" if last < 0.1 else "over-fit"
    tail = losses[-max(3, len(losses) // 5) :]
    still_falling = tail[0] - tail[-1] > 0.1 * max(tail[0], 1e-6)
    if last > 0.85 * first or (still_falling and last > 0.5 * first):
        return "under-fit"
    if not evals and last < 0.05:
        return "memorising"
    return "healthy"


def _words(
    kind: Kind, steps: Sequence[dict[str, Any]], evals: Sequence[dict[str, Any]]
) -> tuple[str, str]:
    if kind == "too short":
        return (
            t("The run took {n} steps: too few to judge a curve.", n=len(steps)),
            t("Train for more epochs or with a smaller train.batch_size."),
        )
    losses = [float(e["loss"]) for e in steps]
    fell = t("The training loss went from {a:.3f} to {b:.3f}.", a=losses[0], b=losses[-1])
    if evals:
        best = min(evals, key=lambda e: e["loss"])
        fell += " " + t(
            "The evaluation loss was lowest at step {step} ({a:.3f}) and ended at {b:.3f}.",
            step=best["step"],
            a=best["loss"],
            b=evals[-1]["loss"],
        )
    match kind:
        case "diverging":
            return (
                t("Diverging: the loss grew instead of falling.") + " " + fell,
                t("Try a third of optim.learning_rate, or a longer optim.warmup_ratio."),
            )
        case "under-fit":
            return (
                t("Under-fit: there was still much to learn when the run ended.") + " " + fell,
                t("Train for more epochs, or raise optim.learning_rate or adapter.rank."),
            )
        case "over-fit":
            return (
                t("Over-fit: the evaluation loss rose again after its lowest point.") + " " + fell,
                t("Use the best checkpoint, train for fewer epochs, or add more varied rows."),
            )
        case "memorising":
            return (
                t("Memorising: the rows are known by heart.") + " " + fell,
                t(
                    "Fine for a name and an identity; for a skill, train for fewer epochs or on "
                    "more rows."
                ),
            )
        case _:
            return (
                t("Healthy: the loss fell and settled.") + " " + fell,
                t("Compare the answers before and after, then export."),
            )
