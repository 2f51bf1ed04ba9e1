"""What a run writes into events.jsonl: its event types, and how a resumed run's steps are read."""

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
"""Every event type with the fields that it must have; it may have more.

``resumed{step, checkpoint, rejected, allowed_drift}`` says that the steps after ``step`` are done
again: ``History`` makes the earlier account of them void.
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
    """The value of a measure in a step or evaluation event; None if it has none."""
    if name == LOSS.name:
        return number(event.get(name))
    return own_measures(event).get(name)


def own_measures(event: Event) -> dict[str, float]:
    """Every measure of a step or an evaluation but the loss, by name."""
    told: dict[str, Any] = event.get("measures") or {}
    values = {name: number(value) for name, value in told.items()}
    return {name: value for name, value in values.items() if value is not None}


class History:
    """Which steps, evaluations and answers of a log count, where a run did some of them again.

    Take the events in order. Only a few numbers per resume and per evaluation are kept, so that a
    log of any length can be read twice: once to take it, once to ask what ``counts``.

    Attributes:
        seq: The last event taken.
    """

    def __init__(self) -> None:
        self.seq = 0
        self._cuts: list[tuple[int, int]] = []  # told before this event of later steps: void
        self._newest: dict[tuple[int, str, str], int] = {}
        self._last = -1
        self._anew = False  # an attempt has begun and not said yet where it continues

    def take(self, event: Event) -> bool:
        """Take the next event; return whether it invalidates an earlier one."""
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
        """Whether an event counts, by all that was taken."""
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
