"""What state a run is in, derived from its folder each time and never remembered.

Three facts decide: the last status event of this attempt, whether the process in worker.json
lives, and how it ended (exit.json). A process that is gone and said nothing is ``interrupted``,
shown with the likely reason and the command that continues it.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tunery.env import human_bytes
from tunery.i18n import t
from tunery.runs import manifest
from tunery.runs.events import FINAL, Event, number, read_events
from tunery.runs.folder import RunFolder, read_json
from tunery.runs.process import Control, WorkerFile, boot_id, is_alive, is_locked

WINDOW_BYTES = 8 * 1024
WIDEST_BYTES = 2**20
SILENT_SECONDS = 600.0


@dataclass
class RunStatus:
    """Everything a list or a page header shows of one run."""

    name: str
    folder: Path
    status: str
    reason: str = ""
    fix: str = ""
    phase: str | None = None
    step: int = 0
    num_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    checkpoint_step: int | None = None
    model: str | None = None
    method: str | None = None
    adapter: str | None = None
    data: list[str] = field(default_factory=list[str])
    started: float | None = None
    duration_seconds: float | None = None
    pid: int | None = None
    exit_status: int | None = None
    """What the worker said that its end is worth: 1 failed, 2 a wrong request."""

    @property
    def is_live(self) -> bool:
        """Whether a process works on it, or will when the device is free."""
        return self.status in ("queued", "running", "stopping", "paused")

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``; non-finite losses become words."""
        from tunery.runs.events import plain

        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}


def derive(folder: RunFolder) -> RunStatus:
    """Look at a run folder and say what state the run is in."""
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
        data=card.get("data") or [],
        started=number(card.get("created")),
        pid=who.get("pid") if alive else None,
    )
    if begin and not any(e["type"] == "plan" for e in events):
        # This attempt has not come far: what the one before it knew still holds.
        _fill_progress(run, read_events(folder.events_file, limit=min(begin, WINDOW_BYTES))[0])
        run.step, run.loss, run.phase = 0, None, None
    _fill_progress(run, events)
    saved = manifest.list_checkpoints(folder.checkpoints_dir)
    run.checkpoint_step = manifest.step_of(saved[-1]) if saved else None
    run.step = run.step or run.checkpoint_step or 0
    said = _last_status(events)
    if alive or is_locked(folder.lock_file):
        _alive(run, folder, said)
    elif said and said["status"] in FINAL:
        run.status, run.reason = said["status"], str(said.get("reason") or "")
        run.fix = str(said.get("fix") or "")
        run.exit_status = said.get("exit")
    else:
        _gone(run, folder, who, said)
    _fill_times(run, events, who)
    return run


def _last_status(events: list[Event]) -> Event | None:
    """The last status event; a step after a pause or a wait says that it is over."""
    said = next((e for e in reversed(events) if e["type"] == "status"), None)
    if said and said["status"] in ("queued", "paused"):
        step = next((e for e in reversed(events) if e["type"] == "step"), None)
        if step and step["seq"] > said["seq"]:
            return {**said, "status": "running", "reason": ""}
    return said


def _alive(run: RunStatus, folder: RunFolder, said: Event | None) -> None:
    if said is None:
        run.status = "running" if run.step else "queued"
        run.reason = "" if run.step else t("its worker is starting")
    else:
        run.status, run.reason = said["status"], why(said)
    if run.status not in FINAL and Control(folder).stop_requested():
        run.status, run.reason = "stopping", t("saves and ends")


def why(event: Event) -> str:
    """The reason in a status event; that of a run that waits in the language in force."""
    if event["status"] != "queued" or "held_by" not in event:
        return str(event.get("reason") or "")
    reason = t("waits for {device}: run {run} holds it",
               device=event["device"], run=event["held_by"])  # fmt: skip
    if event["ahead"]:
        reason += t(", {count} more before this one", count=event["ahead"])
    return reason


def _gone(run: RunStatus, folder: RunFolder, who: dict[str, Any], said: Event | None) -> None:
    """The process is gone and its last word was not a final one."""
    end = read_json(folder.exit_file)
    if end.get("pid") != who.get("pid"):
        end = {}
    control = Control(folder)
    if control.stop_requested() and end.get("signal") == signal.SIGTERM:
        run.status, run.reason = "stopped", t("stopped before the first step")
        return
    run.status = "interrupted"
    run.fix = t("Continue with: tunery runs resume {run}", run=run.name)
    if control.was_killed():
        run.reason = t("it did not save within the grace after a stop and was ended by force")
    else:
        run.reason = cause_of_end(who, end, folder)
    if said and said["status"] == "paused":
        paused = str(said.get("reason") or "")
        run.reason += t("; it had paused before ({reason})", reason=paused)


def cause_of_end(who: dict[str, Any], end: dict[str, Any], folder: RunFolder) -> str:
    """Say in words why a worker is gone."""
    peak = number(end.get("peak_bytes")) or 0.0
    memory = t("its memory peaked at {peak}", peak=human_bytes(peak))
    number_, code = end.get("signal"), end.get("code")
    if number_ == signal.SIGKILL:
        if end.get("oom_kills"):
            return t("out of memory: the kernel ended the worker (signal 9); {memory}",
                     memory=memory)  # fmt: skip
        return t("the worker ended with signal 9 (often out of memory); {memory}", memory=memory)
    if number_:
        name = _signal_name(number_)
        if number_ == signal.SIGABRT and _ran_out_of_memory(folder.worker_log):
            return t("out of memory: an allocation in native code failed (signal 6); {memory}",
                     memory=memory)  # fmt: skip
        if number_ in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE):
            return t("the worker crashed in native code with signal {number} ({name}); see {log}",
                     number=number_, name=name, log=folder.worker_log)  # fmt: skip
        return t("the worker ended with signal {number} ({name})", number=number_, name=name)
    if code is not None:
        last = _last_log_line(folder.worker_log)
        said = t("the worker ended with exit status {code} and said nothing", code=code)
        return f"{said}: {last}" if last else said
    if who and who.get("boot_id") != boot_id():
        return t("the machine was restarted while it ran")
    if not who or who.get("role") == "launcher":
        return t("it was prepared but its worker never started")
    return t("the worker is gone and said nothing (the machine or container may have ended it)")


def _signal_name(number_: int) -> str:
    try:
        return signal.Signals(number_).name
    except ValueError:
        return "?"


def _ran_out_of_memory(log: Path) -> bool:
    """C++ and Rust say so before they abort; the stack of every thread follows it in the log."""
    said = _log_tail(log, 1 << 17)
    return "std::bad_alloc" in said or "memory allocation of" in said


def _last_log_line(log: Path) -> str:
    lines = [line.strip() for line in _log_tail(log, 4096).splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _log_tail(log: Path, num_bytes: int) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - num_bytes))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _glance(path: Path, begin: int) -> list[Event]:
    """The first and the last events of this attempt: enough to tell, however long the log."""
    head, offset = read_events(path, begin, limit=WINDOW_BYTES)
    try:
        size = path.stat().st_size
    except OSError:
        return head
    window = WINDOW_BYTES
    tail: list[Event] = []
    while size > offset:
        tail, _ = read_events(path, max(offset, size - window))
        # Long answers may stand between the last step and the end.
        if any(e["type"] == "step" for e in tail) or window >= min(size, WIDEST_BYTES):
            break
        window *= 4
    return head + tail


def _fill_progress(run: RunStatus, events: list[Event]) -> None:
    for event in events:
        match event["type"]:
            case "plan":
                run.num_steps = event["num_steps"]
            case "phase" if event["state"] != "end":
                run.phase = event["phase"]
            case "resumed":
                run.step = event["step"]
            case "step":
                run.step = event["step"]
                run.epoch = number(event.get("epoch"))
                run.loss = number(event.get("loss"))
                run.tokens_per_second = number(event.get("tokens_per_second"))
                run.eta_seconds = number(event.get("eta_seconds"))
            case "eval":
                run.eval_loss = number(event.get("loss"))
            case _:
                pass


def _fill_times(run: RunStatus, events: list[Event], who: dict[str, Any]) -> None:
    """How long this attempt took, by the clock that no one sets."""
    if not events:
        return
    first, last = number(events[0].get("clock")), number(events[-1].get("clock"))
    if first is None or last is None:
        return
    if run.is_live and who.get("boot_id") == boot_id():
        last = time.monotonic()
        silent = last - (number(events[-1].get("clock")) or last)
        if run.status == "running" and silent > SILENT_SECONDS:
            run.reason = t("no news for {minutes:.0f} minutes", minutes=silent / 60)
    else:
        run.eta_seconds = None
    run.duration_seconds = round(max(0.0, last - first), 3)
