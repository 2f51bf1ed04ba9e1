"""The events in a run's events.jsonl: their types, and which of them count after a resume."""

from __future__ import annotations

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
"""The event types, each with its required fields; an event may have more.

``resumed{step, checkpoint, rejected, allowed_drift}`` means that the steps after ``step`` are
repeated; ``History`` ignores the earlier events of these steps.
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
"""Statuses in which a run has ended."""


class EventWriter(LogWriter):
    """Writes the event log of a run.

    Args:
        path: The log; created if missing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, required=REQUIRED, statuses=STATUSES)


def measured(event: Event, name: str) -> float | None:
    """The value of a measure in a step or eval event; None if it is missing or not a number."""
    if name == LOSS.name:
        return number(event.get(name))
    return own_measures(event).get(name)


def own_measures(event: Event) -> dict[str, float]:
    """The measures of a step or eval event except the loss, by name."""
    found: dict[str, Any] = event.get("measures") or {}
    values = {name: number(value) for name, value in found.items()}
    return {name: value for name, value in values.items() if value is not None}


class History:
    """Decides which steps, evaluations and samples count in the log of a resumed run.

    Call ``take`` with all events in order, then ``counts`` with each of them in a second pass over
    the log. Only a few numbers per resume and evaluation are kept, so the log may have any length.

    Attributes:
        seq: The last event taken.
    """

    def __init__(self) -> None:
        self.seq = 0
        self._cuts: list[tuple[int, int]] = []  # (seq, step): see ``counts``
        self._newest: dict[tuple[int, str, str], int] = {}
        self._last = -1
        self._anew = False  # an attempt started, but has not logged its first step

    def take(self, event: Event) -> bool:
        """Add the next event; return whether earlier events no longer count because of it."""
        self.seq = event["seq"]
        match event["type"]:
            case "status":
                self._anew = self._anew or (event["status"] == "running" and "pid" in event)
                return False
            case "resumed":
                self._anew = False
                return self._cut(event["step"])
            case "step" | "eval" | "sample":
                step = event["step"]
                void = self._anew and self._cut(-1)
                self._anew = False
                if event["type"] == "step":
                    void = self._cut(step - 1) or void
                else:
                    key = _key(event)
                    void = void or key in self._newest
                    self._newest[key] = self.seq
                self._last = max(self._last, step)
                return void
            case _:
                return False

    def counts(self, event: Event) -> bool:
        """Whether an event counts, according to all events taken."""
        if event["type"] not in ("step", "eval", "sample"):
            return True
        if any(event["seq"] < seq and event["step"] > step for seq, step in self._cuts):
            return False
        return event["type"] == "step" or self._newest.get(_key(event)) == event["seq"]

    def _cut(self, step: int) -> bool:
        if self._last <= step:
            return False
        self._cuts.append((self.seq, step))
        self._last = step
        self._newest = {key: seq for key, seq in self._newest.items() if key[0] <= step}
        return True


def _key(event: Event) -> tuple[int, str, str]:
    return event["step"], str(event.get("stage", "")), str(event.get("prompt", ""))
