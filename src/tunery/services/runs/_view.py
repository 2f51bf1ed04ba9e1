"""One run as a page shows it: figures, phases, checkpoints, samples, why it failed.

Everything is read from the run folder at the moment of asking. The page and the REST API show the
same answers; sentences come in the language in force.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunery.errors import TuneryError
from tunery.i18n import t
from tunery.runs import manifest
from tunery.runs.diagnosis import Diagnosis, diagnose
from tunery.runs.folder import RunFolder, open_run
from tunery.runs.status import RunStatus
from tunery.services import words
from tunery.services.runs import _metrics
from tunery.services.runs._lifecycle import failure
from tunery.services.runs._list import RunRow, rows_of
from tunery.workers.log import Event, number

DIAGNOSED = 4000
"""A diagnosis of a long run looks at this many points of it."""


@dataclass(frozen=True)
class Phase:
    """A part of the way, as the page shows it.

    Args:
        key: Stable name.
        label: In the language in force.
        state: ``done``, ``on`` or ``todo``.
        seconds: How long it took, or has taken so far as told.
        progress: How far it is, such as ``120 / 900``; empty where that is not told.
    """

    key: str
    label: str
    state: str
    seconds: float | None
    progress: str = ""


def _phases() -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        ("queue", t("Queue"), ()),
        ("data", t("Read data"), ("data", "tokenize")),
        ("model", t("Load model"), ("model",)),
        ("prepare", t("Prepare"), ("replay", "before")),
        ("train", t("Train"), ("train",)),
        ("save", t("Save"), ("after", "final", "report")),
    ]


@dataclass(frozen=True)
class Checkpoint:
    """A saved state of a run.

    Args:
        step: Of the run.
        folder: Name of its folder.
        loss: Validation loss there, None if it was not measured.
        bytes: What its files take.
        best: Whether it is the best one.
        whole: Whether its manifest is there and right; the files are not read.
    """

    step: int
    folder: str
    loss: float | None
    bytes: int
    best: bool
    whole: bool


@dataclass(frozen=True)
class Sample:
    """The answers to one fixed prompt, oldest first: (step, stage, answer)."""

    prompt: str
    answers: list[tuple[int, str, str]]


@dataclass(frozen=True)
class Failure:
    """Why a run did not end well.

    Args:
        sentence: One sentence.
        fix: What to do.
        lines: The last lines of its log.
        can_resume: Whether going on is of use.
    """

    sentence: str
    fix: str
    lines: list[str]
    can_resume: bool


@dataclass(frozen=True)
class RunView:
    """Everything the page of a run shows, but the curves."""

    row: RunRow
    phases: list[Phase]
    checkpoints: list[Checkpoint]
    samples: list[Sample]
    warnings: list[str]
    failure: Failure | None
    diagnosis: Diagnosis | None
    val_loss: float | None
    memory_bytes: float | None
    plan: dict[str, Any]
    rows: dict[str, Any]
    result: dict[str, Any]
    has_weights: bool
    cursor: str
    worst: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def state(self) -> RunStatus:
        """The run's state."""
        return self.row.state

    @property
    def share(self) -> float | None:
        """How far it is, of one."""
        return self.state.step / self.state.num_steps if self.state.num_steps else None

    @property
    def can_compare(self) -> bool:
        """Whether there are weights to talk to."""
        return self.has_weights or any(c.whole for c in self.checkpoints)


def view(name: str) -> RunView:
    """Gather what the page of a run shows.

    Raises:
        RunError: There is no such run.
    """
    folder = open_run(name)
    told = _metrics.run_log(folder)
    row = rows_of([folder.name])[0]
    state = row.state
    evals = _metrics.evals(told)
    measured = [e["loss"] for e in evals if e["loss"] is not None]
    with told.lock:
        memory = [v for v in told.curves.values["memory_bytes"][-50:] if math.isfinite(v)]
    return RunView(
        row=row,
        phases=phases(told, state),
        checkpoints=saved(folder, evals),
        samples=samples(told),
        warnings=list(dict.fromkeys(str(e["text"]) for e in told.of_type("warning"))),
        failure=why_failed(folder, state),
        diagnosis=judged(told, state),
        val_loss=measured[-1] if measured else None,
        memory_bytes=memory[-1] if memory else None,
        plan=_fields(told.last("plan")),
        rows=_fields(told.last("rows")),
        result=_fields(told.last("result")) if state.status == "finished" else {},
        has_weights=folder.adapter_dir.is_dir() or folder.model_dir.is_dir(),
        cursor=f"{told.seq}:{told.identity[1]}:{state.status}",
        worst=_worst(told),
    )


def phases(told: _metrics.RunLog, state: RunStatus) -> list[Phase]:
    """The phases of the newest attempt, with the time each took."""
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
            case _:
                open_phase, progress = event["phase"], ""
    waited = _queued_seconds(events)
    listed: list[Phase] = []
    for key, label, parts in _phases():
        times = [spent[part] for part in parts if part in spent]
        if key == "queue":
            if waited is None and state.status != "queued":
                continue
            now = "on" if state.status == "queued" else "done"
            listed.append(Phase(key, label, now, waited))
        elif open_phase in parts and state.is_live and state.status != "queued":
            listed.append(Phase(key, label, "on", sum(times) if times else None, progress))
        else:
            done = bool(times)
            listed.append(Phase(key, label, "done" if done else "todo", sum(times) or None))
    return listed


def _attempt(told: _metrics.RunLog) -> list[Event]:
    """The events of the newest attempt: from its first word on, waiting included."""
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


def _queued_seconds(events: Sequence[Event]) -> float | None:
    queued = next((e for e in events if e["type"] == "status" and e["status"] == "queued"), None)
    if queued is None:
        return None
    after = next((e for e in events if e["seq"] > queued["seq"] and e.get("status") == "running"),
                 None)  # fmt: skip
    began, ended = number(queued.get("clock")), number(after.get("clock")) if after else None
    return ended - began if began is not None and ended is not None else None


def saved(folder: RunFolder, evals: Sequence[Event]) -> list[Checkpoint]:
    """The checkpoints that are on the disk now, newest first."""
    losses = {e["step"]: e["loss"] for e in evals if e["loss"] is not None}
    found: list[Checkpoint] = []
    for path in reversed(manifest.list_checkpoints(folder.checkpoints_dir)):
        step = manifest.step_of(path) or 0
        try:
            size = sum(entry["size"] for entry in manifest.read_manifest(path)["files"])
            whole = True
        except TuneryError:
            size, whole = 0, False
        found.append(Checkpoint(step, path.name, losses.get(step), size, best=False, whole=whole))
    with_loss = [c for c in found if c.loss is not None and c.whole]
    if not with_loss:
        return found
    best = min(with_loss, key=lambda c: c.loss or 0.0).step
    return [Checkpoint(**{**vars(c), "best": c.step == best}) for c in found]


def samples(told: _metrics.RunLog) -> list[Sample]:
    """The fixed prompts with their answers; what a resumed run did again counts once."""
    answers: dict[str, dict[tuple[int, str], str]] = {}
    for event in told.of_type("sample"):
        mine = answers.setdefault(str(event["prompt"]), {})
        mine[event["step"], str(event["stage"])] = str(event["answer"])
    order = {"before": 0, "eval": 1, "after": 2}
    return [
        Sample(prompt, [(step, stage, text) for (step, stage), text in
                        sorted(mine.items(), key=lambda i: (i[0][0], order.get(i[0][1], 1)))])
        for prompt, mine in answers.items()
    ]  # fmt: skip


def judged(told: _metrics.RunLog, state: RunStatus) -> Diagnosis | None:
    """What the curves mean, in words; of a run under way only what calls for an act."""
    with told.lock:
        curves = told.curves
        places = _metrics.pick(curves.values["loss"], 0, len(curves), DIAGNOSED)
        steps = [
            {"type": "step", "step": curves.step[i], "loss": curves.values["loss"][i]}
            for i in places
        ]
    if not steps:
        return None
    finding = diagnose([*steps, *_metrics.evals(told)])
    alarming = finding.kind in ("over-fit", "diverging")
    if state.status == "finished" or (alarming and len(steps) > 20):
        return finding
    return None


def why_failed(folder: RunFolder, state: RunStatus) -> Failure | None:
    """Why a run did not end well; None for one that did, was stopped, or goes on."""
    error = failure(state)
    if error is None:
        return None
    lines, _, _ = log_lines(folder.worker_log, tail=30)
    return Failure(error.message, error.fix, lines, can_resume=state.exit_status != 2)


LOG_BYTES = 256 * 1024


def log_lines(path: Path, *, after: int = 0, tail: int = 0) -> tuple[list[str], int, bool]:
    """Read worker.log.

    Args:
        path: The file; a missing one is empty.
        after: Byte to begin at; one beyond the end (the log was rotated) begins anew.
        tail: Where above 0: only this many of the last lines.

    Returns:
        The whole lines, where to go on, and whether earlier lines were left out.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            begin = after if after <= size else 0
            cut = size - begin > LOG_BYTES
            if cut:
                begin = size - LOG_BYTES
            file.seek(begin)
            data = file.read(LOG_BYTES)
    except OSError:
        return [], 0, False
    end = data.rfind(b"\n") + 1 if not tail else len(data)
    lines = data[:end].decode("utf-8", "replace").removesuffix("\n").split("\n") if end else []
    if cut and lines:
        lines = lines[1:]
    shown = lines[-tail:] if tail else lines
    # Progress bars draw over themselves: what was left at the end is what one would have seen.
    shown = [line.rstrip("\r").rsplit("\r", 1)[-1][:2000] for line in shown]
    return shown, begin + end, cut or len(shown) < len(lines)


def event_lines(told: _metrics.RunLog, after: int = 0) -> list[tuple[int, str]]:
    """What happened, as sentences with the numbers of their events, after an event."""
    with told.lock:
        events = [event for event in told.events if event["seq"] > after]
    said = [(event["seq"], words.told(event, checked=False)) for event in events]
    return [(seq, text.strip()) for seq, text in said if text]


def _worst(told: _metrics.RunLog) -> list[dict[str, Any]]:
    """Validation rows with the highest loss, where the newest evaluation names them."""
    for event in reversed(told.of_type("eval")):
        if isinstance(event.get("worst"), list):
            return event["worst"]
    return []


def _fields(event: Event | None) -> dict[str, Any]:
    head = ("seq", "time", "clock", "type")
    return {k: v for k, v in (event or {}).items() if k not in head}
