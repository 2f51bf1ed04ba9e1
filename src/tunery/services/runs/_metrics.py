"""The curves of a run: read incrementally as the log grows, downsampled for display.

``run_log(folder)`` keeps the events of a run that it has read in memory and reads only what was
added since. A curve of 100,000 steps becomes at most ``max_points`` points: each bucket keeps its
lowest and highest value, so that no spike is lost, and the bucket's mean is returned as well, so
that a smoothed line reflects all points.
"""

from __future__ import annotations

import itertools
import math
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunery.measures import LOSS_ALONE, Declared
from tunery.runs.events import measured, own_measures
from tunery.runs.folder import RunFolder
from tunery.workers.log import Event, number, read_events

METRIC_KEYS = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes")
"""What every step event measures and a chart shows; a run may declare more."""
AXES = ("epoch", "tokens", "time")
"""Alternatives to the step as the x-axis of a chart; all of them increase monotonically."""
MAX_POINTS = 2000
AXIS_POINTS = 200
CHUNK_BYTES = 4 * 2**20
KEPT_LOGS = 16


@dataclass
class Curves:
    """The steps of a run as columns; a missing measure is NaN."""

    step: array[int] = field(default_factory=lambda: array("q"))
    seq: array[int] = field(default_factory=lambda: array("q"))
    axes: dict[str, array[float]] = field(
        default_factory=lambda: {name: array("d") for name in AXES}
    )
    values: dict[str, array[float]] = field(
        default_factory=lambda: {name: array("d") for name in METRIC_KEYS}
    )

    def __len__(self) -> int:
        return len(self.step)

    def take(self, event: Event) -> None:
        """Append a step event; steps of an earlier attempt from that step on are dropped."""
        if self.step and event["step"] <= self.step[-1]:
            self.cut(event["step"] - 1)
        self.step.append(event["step"])
        self.seq.append(event["seq"])
        self.axes["epoch"].append(number(event.get("epoch")) or 0.0)
        self._add("tokens", number(event.get("tokens")))
        self._add("time", number(event.get("seconds")))
        for name, column in self.values.items():
            value = number(event.get(name)) if name in METRIC_KEYS else measured(event, name)
            column.append(math.nan if value is None else value)

    def declare(self, declared: Declared) -> None:
        """Give each measure that the run declares its own column."""
        for measure in declared.own:
            if measure.name not in self.values:
                self.values[measure.name] = array("d", [math.nan] * len(self))

    def cut(self, step: int) -> None:
        """Drop every step after ``step``."""
        keep = bisect_right(self.step, step)
        for column in (self.step, self.seq, *self.axes.values(), *self.values.values()):
            del column[keep:]

    def _add(self, axis: str, more: float | None) -> None:
        column = self.axes[axis]
        column.append((column[-1] if column else 0.0) + (more or 0.0))


@dataclass
class RunLog:
    """The content of a run's log, updated by ``refresh``.

    Args:
        path: events.jsonl of the run.
    """

    path: Path
    curves: Curves = field(default_factory=Curves)
    events: list[Event] = field(default_factory=list[Event])
    """Every event that is not a step; only the newest one of a phase's progress."""
    seq: int = 0
    offset: int = 0
    declared: Declared = LOSS_ALONE
    """The measures of the run."""
    identity: tuple[int, int] = (0, 0)
    """Device and inode of the file that was read: a different file is a different log."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def refresh(self) -> RunLog:
        """Read what was added; a log that was replaced or truncated is read from the start."""
        with self.lock:
            try:
                status = self.path.stat()
            except OSError:
                return self
            identity = (status.st_dev, status.st_ino)
            if identity != self.identity or status.st_size < self.offset:
                self.curves, self.events, self.seq, self.offset = Curves(), [], 0, 0
                self.identity, self.declared = identity, LOSS_ALONE
            while self.offset < status.st_size:
                before = self.offset
                found, self.offset = events_from(self.path, self.offset, limit=CHUNK_BYTES)
                for event in found:
                    self._take(event)
                if self.offset == before:
                    break
        return self

    def of_type(self, *types: str) -> list[Event]:
        """The events of the given types, in order."""
        with self.lock:
            return [event for event in self.events if event["type"] in types]

    def last(self, type: str) -> Event | None:
        """The newest event of a type."""
        with self.lock:
            return next((e for e in reversed(self.events) if e["type"] == type), None)

    def _take(self, event: Event) -> None:
        self.seq = max(self.seq, event["seq"])
        if event["type"] == "step":
            self.curves.take(event)
            return
        if event["type"] == "resumed":
            self.curves.cut(event["step"])
        if event["type"] == "plan":
            self.declared = Declared.of(event)
            self.curves.declare(self.declared)
        last = self.events[-1] if self.events else None
        if _is_progress(event) and last is not None and _is_progress(last):
            self.events[-1] = event
        else:
            self.events.append(event)


def _is_progress(event: Event) -> bool:
    return event["type"] == "phase" and event["state"] == "progress"


def events_from(path: Path, offset: int, *, limit: int) -> tuple[list[Event], int]:
    """Read events from an offset, at most ``limit`` bytes, but always one whole line."""
    while True:
        events, end = read_events(path, offset, limit=limit)
        try:
            left = path.stat().st_size - offset
        except OSError:
            return events, end
        if end > offset or limit >= left:
            return events, end
        limit *= 4


_logs: OrderedDict[Path, RunLog] = OrderedDict()
_logs_lock = threading.Lock()


def run_log(folder: RunFolder) -> RunLog:
    """The current log of a run; the newest ``KEPT_LOGS`` runs stay in memory."""
    with _logs_lock:
        path = folder.events_file
        found = _logs.pop(path, None) or RunLog(path)
        _logs[path] = found
        while len(_logs) > KEPT_LOGS:
            _logs.popitem(last=False)
    return found.refresh()


def metrics(
    told: RunLog,
    *,
    after: int = 0,
    max_points: int = MAX_POINTS,
    keys: Sequence[str] = (),
) -> dict[str, Any]:
    """The curves after a step, downsampled.

    Args:
        told: The run log.
        after: Only steps after this one.
        max_points: Maximum number of points of the loss; other curves get a quarter of it.
        keys: Which curves, from ``METRIC_KEYS`` and the run's own measures; all by default.

    Returns:
        ``{"last", "seq", "axes", "measures", "series", "evals", "checkpoints"}``: ``measures``
        are those that the run declares; ``series[key]`` has ``step``, ``value`` and, if it was
        downsampled, ``mean``; ``axes`` has the other axes at some steps, to be interpolated
        linearly.
    """
    with told.lock:
        curves = told.curves
        begin = bisect_right(curves.step, after)
        end = len(curves)
        series: dict[str, Any] = {}
        for key in keys or curves.values:
            values = curves.values.get(key, array("d"))
            wanted = max_points if key == "loss" else max(2, max_points // 4)
            if begin < end and any(map(math.isfinite, values[begin:end])):
                series[key] = _thinned(curves.step, values, begin, end, wanted)
        at = spread(begin, end, AXIS_POINTS)
        return {
            "after": after,
            "last": curves.step[-1] if end else 0,
            "count": end,
            "seq": told.seq,
            "axes": {
                "step": [curves.step[i] for i in at],
                **{name: [_short(column[i]) for i in at] for name, column in curves.axes.items()},
            },
            "measures": [measure.named() for measure in told.declared.measures],
            "series": series,
            "evals": [_eval(e) for e in evals(told)],
            "checkpoints": checkpoints(told),
        }


def checkpoints(told: RunLog) -> list[int]:
    """Steps at which a checkpoint was written, without those that a resume discarded."""
    steps: list[int] = []
    for event in told.of_type("checkpoint", "resumed"):
        steps = [s for s in steps if s <= event["step"] and s != event["step"]]
        steps.append(event["step"])
    return steps


def evals(told: RunLog) -> list[Event]:
    """Evaluations without those that a resume discarded, their losses as numbers or None."""
    kept: list[Event] = []
    for event in told.of_type("eval", "resumed"):
        if event["type"] == "resumed":
            kept = [e for e in kept if e["step"] <= event["step"]]
        else:
            kept = [e for e in kept if e["step"] < event["step"]]
            kept.append({**event, "loss": number(event.get("loss"))})
    return kept


def best_eval(told: RunLog) -> tuple[int, float] | None:
    """Step and value of the best evaluation by the deciding measure; the first one if tied.

    As in the run itself, the untrained model (step 0) is excluded.
    """
    best = told.declared.best
    found: tuple[int, float] | None = None
    for event in evals(told):
        value = measured(event, best.name)
        if value is None or event["step"] == 0:
            continue
        if found is None or best.is_better(value, found[1]):
            found = event["step"], value
    return found


def _eval(event: Event) -> dict[str, Any]:
    loss = number(event.get("loss"))
    return {
        "step": event["step"],
        "loss": _short(math.nan if loss is None else loss),
        "measures": {name: _short(value) for name, value in own_measures(event).items()},
        "forgetting": number(event.get("forgetting")),
        "best": bool(event.get("best")),
    }


def _thinned(
    step: Sequence[int], values: array[float], begin: int, end: int, max_points: int
) -> dict[str, Any]:
    picked = pick(values, begin, end, max_points)
    thin: dict[str, Any] = {
        "step": [step[i] for i in picked],
        "value": [_short(values[i]) for i in picked],
    }
    if len(picked) < end - begin:
        thin["mean"] = [_short(mean) for mean in _means(values, picked, begin, end)]
    return thin


def pick(values: array[float], begin: int, end: int, max_points: int) -> list[int]:
    """Choose indices of a curve that preserve its shape: first, last, and each bucket's extremes.

    Args:
        values: The whole curve; NaN where there is no value.
        begin: First index.
        end: One after the last.
        max_points: Maximum number of indices, at least 2.

    Returns:
        Indices in ascending order; all of them if there are few enough.
    """
    count = end - begin
    if count <= max_points:
        return list(range(begin, end))
    buckets = max(0, max_points - 2) // 2
    chosen = {begin, end - 1}
    for bucket in range(buckets):
        low, high = begin + bucket * count // buckets, begin + (bucket + 1) * count // buckets
        part = values[low:high]
        finite = [v for v in part if math.isfinite(v)]
        if finite:
            chosen.add(low + part.index(min(finite)))
            chosen.add(low + part.index(max(finite)))
    return sorted(chosen)


def _means(values: array[float], picked: Sequence[int], begin: int, end: int) -> list[float]:
    """The mean around each chosen index, half way to each neighbour."""
    edges = [begin, *((a + b + 1) // 2 for a, b in itertools.pairwise(picked)), end]
    means: list[float] = []
    for low, high in itertools.pairwise(edges):
        finite = [v for v in values[low:high] if math.isfinite(v)]
        means.append(sum(finite) / len(finite) if finite else math.nan)
    return means


def spread(begin: int, end: int, most: int) -> list[int]:
    """At most ``most`` evenly spaced indices between two, including the first and the last."""
    count = end - begin
    if count <= most:
        return list(range(begin, end))
    return [begin + i * (count - 1) // (most - 1) for i in range(most)]


def steps_since(told: RunLog, seq: int, *, most: int) -> dict[str, Any] | None:
    """The steps written after an event, as columns; None if there are more than ``most``.

    A step that has been undone by a resume since then is not included.
    """
    with told.lock:
        curves = told.curves
        begin, end = bisect_right(curves.seq, seq), len(curves)
        if end - begin > most:
            return None
        return {
            "step": list(curves.step[begin:end]),
            **{name: [_short(v) for v in c[begin:end]] for name, c in curves.axes.items()},
            **{name: [_short(v) for v in c[begin:end]] for name, c in curves.values.items()},
            "keys": list(curves.values),
        }


def _short(value: float) -> float | None:
    """Five significant figures, more than a screen shows at half the bytes; None if not finite."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.5g}") if abs(value) < 1e5 else float(round(value))
    return int(short) if short.is_integer() else short
