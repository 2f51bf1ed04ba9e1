"""The phases of a run, from waiting in the queue to the saved result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tunery.i18n import t
from tunery.runs.curves import RunLog
from tunery.runs.status import RunStatus
from tunery.services import words
from tunery.workers.log import Event, number


@dataclass(frozen=True)
class Phase:
    """A phase of the run, as the page shows it.

    Args:
        key: Stable identifier.
        label: In the current language.
        state: ``done``, ``on`` or ``todo``.
        seconds: How long it took, or has taken so far according to the log.
        progress: How far it is, such as ``120 / 900``; empty if that is not reported.
    """

    key: str
    label: str
    state: str
    seconds: float | None
    progress: str = ""


def _phases() -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        ("queue", t("Queue"), ()),
        ("start", t("Starting the worker"), ()),
        ("data", t("Reading data"), ("data", "tokenize")),
        ("model", t("Loading model"), ("model",)),
        ("prepare", t("Preparing"), ("replay", "others", "teacher", "reference", "before")),
        ("train", t("Train"), ("train",)),
        ("save", t("Save"), ("after", "final", "report")),
    ]


def phases(told: RunLog, state: RunStatus) -> list[Phase]:
    """The phases of the newest attempt, with the duration of each."""
    events = _attempt(told)
    spent: dict[str, float] = {}
    open_phase, progress = None, ""
    for event in (e for e in events if e["type"] == "phase"):
        match event["state"]:
            case "end":
                spent[event["phase"]] = number(event.get("seconds")) or 0.0
                open_phase, progress = None, ""
            case "progress":
                progress = f"{event['done']:,} / {event['total']:,}"
            case "doing":
                open_phase, progress = event["phase"], words.doing(event)
            case _:
                open_phase, progress = event["phase"], ""
    waited = _queued_seconds(events)
    listed: list[Phase] = []
    for key, label, parts in _phases():
        times = [spent[part] for part in parts if part in spent]
        if key == "queue":
            if waited is None and (state.starting or state.status != "queued"):
                continue
            now = "on" if state.status == "queued" else "done"
            listed.append(Phase(key, label, now, waited))
        elif key == "start":
            since = _starting_seconds(events, state)
            if since is not None:
                listed.append(Phase(key, label, "on", since))
        elif open_phase in parts and state.is_live and state.status != "queued":
            listed.append(Phase(key, label, "on", sum(times) if times else None, progress))
        else:
            done = bool(times)
            listed.append(Phase(key, label, "done" if done else "todo", sum(times) or None))
    return listed


def _attempt(told: RunLog) -> list[Event]:
    """The events of the newest attempt from its first event on, including waiting."""
    with told.lock:
        events = list(told.events)
    begin = 0
    for i, event in enumerate(events):
        if event["type"] == "status" and event["status"] in ("queued", "running"):
            before = events[i - 1] if i else None
            follows = before is not None and before["type"] == "status"
            waits = follows and before is not None and before["status"] == "queued"
            resumed_after_pause = event.get("pid") is None and event["status"] == "running"
            if not waits and not resumed_after_pause:
                begin = i
    return events[begin:]


def _starting_seconds(events: Sequence[Event], state: RunStatus) -> float | None:
    """How long the worker has been starting; None once it has marked a phase, or if it waits."""
    if not state.is_live or any(event["type"] in ("phase", "step") for event in events):
        return None
    if state.starting:
        return max(0.0, time.time() - (state.started or time.time())) if not events else 0.0
    running = next((e for e in events if e.get("status") == "running"), None)
    if running is None:
        return None
    return max(0.0, time.monotonic() - (number(running.get("clock")) or time.monotonic()))


def _queued_seconds(events: Sequence[Event]) -> float | None:
    queued = next((e for e in events if e["type"] == "status" and e["status"] == "queued"), None)
    if queued is None:
        return None
    after = next((e for e in events if e["seq"] > queued["seq"] and e.get("status") == "running"),
                 None)  # fmt: skip
    began, ended = number(queued.get("clock")), number(after.get("clock")) if after else None
    return ended - began if began is not None and ended is not None else None
