"""What a run writes into events.jsonl: its event types, and how a resumed run's steps are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunery.measures import LOSS
from tunery.workers.log import Event, LogWriter, number

REQUIRED: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "phase": ("phase", "state"),
    "rows": ("read", "used", "quarantined", "filtered"),
    "plan": ("num_steps", "trained_parameters", "total_parameters"),
    "step": ("step", "epoch", "loss", "learning_rate"),
    "eval": ("step", "loss"),
    "sample": ("step", "stage", "prompt", "answer"),
    "checkpoint": ("step", "folder", "bytes", "seconds"),
    "resumed": ("step", "checkpoint"),
    "warning": ("code", "text"),
    "anomaly": ("step",),
    "result": (),
}
"""Every event type with the fields that it must have; it may have more.

``resumed{step, checkpoint, rejected, allowed_drift}`` says that the steps after ``step`` are done
again: ``step_history`` drops the earlier account of them.
"""

STATUSES = (
    "queued",
    "running",
    "stopping",
    "stopped",
    "finished",
    "failed",
    "interrupted",
    "paused",
)
FINAL = frozenset({"stopped", "finished", "failed"})


class EventWriter(LogWriter):
    """The log of one run.

    Args:
        path: The log; made if missing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, required=REQUIRED, statuses=STATUSES)


def measured(event: Event, name: str) -> float | None:
    """What a step or an evaluation says of a measure; None where it says nothing."""
    if name == LOSS.name:
        return number(event.get(name))
    return own_measures(event).get(name)


def own_measures(event: Event) -> dict[str, float]:
    """Every measure of a step or an evaluation but the loss, by name."""
    told: dict[str, Any] = event.get("measures") or {}
    values = {name: number(value) for name, value in told.items()}
    return {name: value for name, value in values.items() if value is not None}


def step_history(events: Iterable[Event]) -> list[Event]:
    """The step events, strictly increasing: what a resumed run did again replaces the first try."""
    kept: list[Event] = []
    for event in events:
        if event["type"] in ("step", "resumed"):
            first = event["step"] if event["type"] == "step" else event["step"] + 1
            while kept and kept[-1]["step"] >= first:
                kept.pop()
            if event["type"] == "step":
                kept.append(event)
    return kept
