"""The status of a run, derived from its folder each time.

It follows from the last status event of this attempt, whether the process in worker.json is alive,
and how it ended (exit.json). A run whose process ended without a final status is ``interrupted``;
it is shown with the likely reason and the command to resume it.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tunery.commands import quoted
from tunery.i18n import retold, t
from tunery.measures import LOSS, LOSS_ALONE, Declared
from tunery.runs import manifest
from tunery.runs.events import FINAL, own_measures
from tunery.runs.folder import RunFolder
from tunery.workers.ending import cause_of_end
from tunery.workers.folder import read_json
from tunery.workers.log import Event, number, plain, read_events
from tunery.workers.process import Control, WorkerFile, boot_id, is_alive, is_locked

WINDOW_BYTES = 8 * 1024
WIDEST_BYTES = 2**20
SILENT_SECONDS = 600.0
LIVE = ("queued", "running", "stopping", "paused")
"""Statuses of a run with a process: it works, or waits for the device."""
SECONDS_BEFORE = "seconds_before"
"""Key in worker.json: total duration of the earlier attempts, in seconds."""


@dataclass
class RunStatus:
    """The status of a run and the figures that a list or its page header shows."""

    name: str
    folder: Path
    status: str
    reason: str = ""
    starting: bool = False
    """Whether it is ``queued`` only because its worker is starting."""
    fix: str = ""
    phase: str | None = None
    step: int = 0
    num_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    measures: dict[str, float] = field(default_factory=dict[str, float])
    """The method's own measures at the last step."""
    eval_loss: float | None = None
    eval_measures: dict[str, float] = field(default_factory=dict[str, float])
    """The method's own measures at the last evaluation."""
    declared: Declared = LOSS_ALONE
    """The measures that the run declares."""
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    checkpoint_step: int | None = None
    model: str | None = None
    method: str | None = None
    adapter: str | None = None
    quantization: str | None = None
    data: list[str] = field(default_factory=list[str])
    started: float | None = None
    duration_seconds: float | None = None
    """Total run time of its processes, over all attempts."""
    pid: int | None = None
    exit_status: int | None = None
    """Exit status that the worker recorded: 1 if the run failed, 2 for an invalid request."""

    @property
    def is_live(self) -> bool:
        """Whether the run has a process that works on it or waits for the device."""
        return self.status in LIVE

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``; non-finite losses become words."""
        names = [f.name for f in fields(self) if f.name != "declared"]
        return {**plain({name: getattr(self, name) for name in names}),
                "best_measure": self.declared.best.name}  # fmt: skip

    def at_step(self, name: str) -> float | None:
        """The value of a measure at the last step."""
        return self.loss if name == LOSS.name else self.measures.get(name)

    def at_eval(self, name: str) -> float | None:
        """The value of a measure at the last evaluation."""
        return self.eval_loss if name == LOSS.name else self.eval_measures.get(name)


def derive(folder: RunFolder) -> RunStatus:
    """Derive the status of a run from its folder."""
    who = WorkerFile(folder).read()
    alive = is_alive(who)
    begin = int(who.get("events_offset") or 0)
    events = _glance(folder.events_file, begin)
    card = folder.card()
    run = RunStatus(
        name=folder.name,
        folder=folder.path,
        status="queued",
        model=card.get("model"),
        method=card.get("method"),
        adapter=card.get("adapter"),
        quantization=card.get("quantization"),
        data=card.get("data") or [],
        started=number(card.get("created")),
        pid=who.get("pid") if alive else None,
    )
    if begin and not any(e["type"] == "plan" for e in events):
        # This attempt has no plan yet: use that of the one before.
        _fill_progress(run, read_events(folder.events_file, limit=min(begin, WINDOW_BYTES))[0])
        run.step, run.loss, run.phase, run.measures = 0, None, None, {}
    _fill_progress(run, events)
    saved = manifest.list_checkpoints(folder.checkpoints_dir)
    run.checkpoint_step = manifest.step_of(saved[-1]) if saved else None
    run.step = run.step or run.checkpoint_step or 0
    said = _last_status(events)
    if alive or is_locked(folder.lock_file):
        _alive(run, folder, said)
    elif said and said["status"] in FINAL:
        run.status, run.reason = said["status"], retold(said, "reason")
        run.fix = retold(said, "fix")
        run.exit_status = said.get("exit")
    else:
        _gone(run, folder, who, said)
    _fill_times(run, events, who)
    return run


def _last_status(events: list[Event]) -> Event | None:
    """The last status event; a step after ``paused`` or ``queued`` means ``running``."""
    said = next((e for e in reversed(events) if e["type"] == "status"), None)
    if said and said["status"] in ("queued", "paused"):
        step = next((e for e in reversed(events) if e["type"] == "step"), None)
        if step and step["seq"] > said["seq"]:
            return {**said, "status": "running", "reason": ""}
    return said


def _alive(run: RunStatus, folder: RunFolder, said: Event | None) -> None:
    if said is None:
        run.status = "running" if run.step else "queued"
        run.starting = not run.step
        run.reason = "" if run.step else t("its worker is starting")
    else:
        run.status, run.reason = said["status"], why(said)
    if run.status not in FINAL and Control(folder).stop_requested():
        run.status, run.reason = "stopping", t("saving, then stopping")


def why(event: Event) -> str:
    """The reason in a status event, translated to the current language."""
    if event["status"] != "queued" or "held_by" not in event:
        return retold(event, "reason")
    reason = t("waiting for {device}: in use by run {run}",
               device=event["device"], run=event["held_by"])  # fmt: skip
    if event["ahead"]:
        reason += t(", {count} more ahead in the queue", count=event["ahead"])
    return reason


def _gone(run: RunStatus, folder: RunFolder, who: dict[str, Any], said: Event | None) -> None:
    """Fill in the status of a run whose process ended without a final status event."""
    if not folder.path.is_dir():
        run.status, run.reason = "interrupted", t("its folder was deleted or moved")
        run.fix = t(
            "Move {folder} back and resume the run, or start a new one.", folder=folder.path
        )
        return
    end = read_json(folder.exit_file)
    if end.get("pid") != who.get("pid"):
        end = {}
    control = Control(folder)
    if control.stop_requested() and end.get("signal") == signal.SIGTERM:
        run.status, run.reason = "stopped", t("stopped before the first step")
        return
    run.status = "interrupted"
    run.fix = t("Resume it: tunery runs resume {run}", run=quoted(run.name))
    if control.was_killed_at_once():
        run.status, run.reason = "stopped", t("stopped immediately as requested, without saving")
    elif control.was_killed():
        run.reason = t("it did not save within the grace period after a stop and was killed")
    else:
        run.reason = cause_of_end(who, end, folder)
    if said and said["status"] == "paused":
        paused = retold(said, "reason")
        run.reason += t("; it was paused before ({reason})", reason=paused)


def _glance(path: Path, begin: int) -> list[Event]:
    """The first and last events of this attempt; the time does not depend on the log's length."""
    head, offset = read_events(path, begin, limit=WINDOW_BYTES)
    try:
        size = path.stat().st_size
    except OSError:
        return head
    window = WINDOW_BYTES
    tail: list[Event] = []
    while size > offset:
        tail, _ = read_events(path, max(offset, size - window))
        # Long samples may follow the last step.
        if any(e["type"] == "step" for e in tail) or window >= min(size, WIDEST_BYTES):
            break
        window *= 4
    return head + tail


def _fill_progress(run: RunStatus, events: list[Event]) -> None:
    for event in events:
        match event["type"]:
            case "plan":
                run.num_steps = event["num_steps"]
                run.declared = Declared.of(event)
            case "phase" if event["state"] != "end":
                run.phase = event["phase"]
            case "resumed":
                run.step = event["step"]
            case "step":
                run.step = event["step"]
                run.epoch = number(event.get("epoch"))
                run.loss, run.measures = number(event.get("loss")), own_measures(event)
                run.tokens_per_second = number(event.get("tokens_per_second"))
                run.eta_seconds = number(event.get("eta_seconds"))
            case "eval":
                run.eval_loss, run.eval_measures = number(event.get("loss")), own_measures(event)
            case _:
                pass


def _count_down(run: RunStatus, events: list[Event], now: float) -> None:
    """Deduct from the time left what has passed since the last step; None once it is used up."""
    step = next((event for event in reversed(events) if event["type"] == "step"), None)
    if step is None or run.eta_seconds is None:
        return
    left = run.eta_seconds - (now - (number(step.get("clock")) or now))
    run.eta_seconds = round(left, 1) if left >= 1 else None


def _fill_times(run: RunStatus, events: list[Event], who: dict[str, Any]) -> None:
    """Fill in the duration over all attempts, by the monotonic clock.

    The time between attempts does not count.
    """
    before = number(who.get(SECONDS_BEFORE)) or 0.0
    run.duration_seconds = before or None
    if not events:
        return
    first, last = number(events[0].get("clock")), number(events[-1].get("clock"))
    if first is None or last is None:
        return
    if run.is_live and who.get("boot_id") == boot_id():
        last = time.monotonic()
        silent = last - (number(events[-1].get("clock")) or last)
        _count_down(run, events, last)
        if run.status == "running" and silent > SILENT_SECONDS:
            run.reason = t("no update for {minutes:.0f} minutes", minutes=silent / 60)
    else:
        run.eta_seconds = None
    run.duration_seconds = round(before + max(0.0, last - first), 3)
