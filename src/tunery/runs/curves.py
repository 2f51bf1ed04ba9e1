"""The log of a run as columns and events, read incrementally.

``RunLog`` reads the events that were added since the last call. For a long log it writes a summary
(``curves.bin``) next to it, so that another process reads only the summary and the rest: a run of a
million steps opens at once. The summary is a cache; if it is missing, damaged or of another log,
the log is read from the start.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import sys
import threading
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from tunery import atomic
from tunery.measures import LOSS_ALONE, Declared
from tunery.runs.events import measured
from tunery.workers.log import Event, number, read_events

METRIC_KEYS = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes")
"""The measures in every step event; a run may declare more."""
AXES = ("epoch", "tokens", "time")
"""Alternatives to the step as the x-axis of a chart; all of them increase monotonically."""
CHUNK_BYTES = 4 * 2**20
KEPT_FROM_BYTES = 4 * 2**20
"""Minimum size of a log to write a summary for; a shorter one takes 0.1 s to read."""
MOST_STEPS = 4000
"""Maximum number of steps in a report or a diagnosis of a long run."""
SUMMARY_VERSION = 1
TAIL_BYTES = 4096


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
        """Append a step event; drop this and later steps of an earlier attempt."""
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
        """Add a column for each measure that the run declares."""
        for measure in declared.own:
            if measure.name not in self.values:
                self.values[measure.name] = array("d", [math.nan] * len(self))

    def cut(self, step: int) -> None:
        """Drop every step after ``step``."""
        keep = bisect_right(self.step, step)
        for column in self.columns():
            del column[keep:]

    def columns(self) -> list[array[Any]]:
        """Every column, in a fixed order."""
        return [self.step, self.seq, *self.axes.values(), *self.values.values()]

    def event(self, at: int, before: int) -> Event:
        """The step at an index as an event.

        Args:
            at: Index of the step.
            before: Index of the step from which tokens and seconds are summed; -1 for the start.
        """
        measures = {n: c[at] for n, c in self.values.items() if n not in METRIC_KEYS}
        return {
            "seq": self.seq[at],
            "type": "step",
            "step": self.step[at],
            "epoch": self.axes["epoch"][at],
            **{name: _or_none(self.values[name][at]) for name in METRIC_KEYS},
            "tokens": self._between("tokens", before, at),
            "seconds": self._between("time", before, at),
            "measures": {n: v for n, v in measures.items() if not math.isnan(v)},
        }

    def _between(self, axis: str, before: int, at: int) -> float:
        column = self.axes[axis]
        return column[at] - (column[before] if before >= 0 else 0.0)

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
    """Every event but the steps; of consecutive progress events only the newest."""
    seq: int = 0
    offset: int = 0
    declared: Declared = LOSS_ALONE
    """The measures of the run."""
    identity: tuple[int, int] = (0, 0)
    """Device and inode of the file that was read, to detect a replaced log."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    _kept: int = 0
    """Bytes of the log that the summary covers."""

    def refresh(self) -> RunLog:
        """Read the added events; a log that was replaced or truncated is read from the start."""
        with self.lock:
            try:
                status = self.path.stat()
            except OSError:
                return self
            identity = (status.st_dev, status.st_ino)
            if identity != self.identity or status.st_size < self.offset:
                self.curves, self.events, self.seq, self.offset = Curves(), [], 0, 0
                self.identity, self.declared, self._kept = identity, LOSS_ALONE, 0
                if status.st_size >= KEPT_FROM_BYTES:
                    self._open_summary()
            while self.offset < status.st_size:
                before = self.offset
                found, self.offset = events_from(self.path, self.offset, limit=CHUNK_BYTES)
                for event in found:
                    self._take(event)
                if self.offset == before:
                    break
            if self.offset - self._kept >= max(KEPT_FROM_BYTES, self._kept // 4):
                self._keep_summary()
        return self

    def of_type(self, *types: str) -> list[Event]:
        """The events of the given types, in order."""
        with self.lock:
            return [event for event in self.events if event["type"] in types]

    def last(self, type: str) -> Event | None:
        """The newest event of a type; None if there is none."""
        with self.lock:
            return next((e for e in reversed(self.events) if e["type"] == type), None)

    def thinned(self, most: int = MOST_STEPS) -> list[Event]:
        """Every event in order, with at most ``most`` steps.

        The steps with the lowest and highest losses are kept. Tokens and seconds of omitted steps
        are added to the next one, so that sums stay correct.
        """
        with self.lock:
            curves = self.curves
            places = pick(curves.values["loss"], 0, len(curves), most)
            steps = [curves.event(at, before) for before, at in itertools.pairwise((-1, *places))]
            return sorted([*self.events, *steps], key=itemgetter("seq"))

    def _open_summary(self) -> None:
        """Start from the summary, if there is one of this log."""
        found = read_summary(summary_of(self.path), self.path)
        if found is not None:
            head, self.curves = found
            self.events, self.seq, self.offset = head["events"], head["seq"], head["offset"]
            self._kept = self.offset
            plan = self.last("plan")
            self.declared = Declared.of(plan) if plan else LOSS_ALONE

    def _keep_summary(self) -> None:
        head = {"seq": self.seq, "offset": self.offset, "events": self.events}
        self._kept = self.offset
        with contextlib.suppress(OSError):  # full or read-only disk: no summary
            write_summary(summary_of(self.path), self.path, head, self.curves)

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
    """Read events from an offset, at most ``limit`` bytes but at least one complete line.

    Returns:
        The events, and the offset after them.
    """
    while True:
        events, end = read_events(path, offset, limit=limit)
        try:
            left = path.stat().st_size - offset
        except OSError:
            return events, end
        if end > offset or limit >= left:
            return events, end
        limit *= 4


def pick(values: array[float], begin: int, end: int, max_points: int) -> list[int]:
    """Choose indices of a curve that preserve its shape: first, last, and each bucket's extremes.

    Args:
        values: The complete curve; NaN for a missing value.
        begin: First index.
        end: Last index + 1.
        max_points: Maximum number of indices, at least 2.

    Returns:
        Indices in ascending order; all of them if there are at most ``max_points``.
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


def summary_of(log: Path) -> Path:
    """Path of the summary of a log."""
    return log.with_name("curves.bin")


def write_summary(path: Path, log: Path, head: dict[str, Any], curves: Curves) -> None:
    """Write the summary of a log: a line of JSON, then the columns as binary.

    Args:
        path: The summary.
        log: The log.
        head: ``seq``, ``offset`` and ``events`` of what was read.
        curves: The steps of what was read.

    Raises:
        OSError: The file cannot be written.
    """
    head = {
        "version": SUMMARY_VERSION,
        "byteorder": sys.byteorder,
        "count": len(curves),
        "values": list(curves.values),
        "tail": _tail(log, head["offset"]),
        **head,
    }
    line = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    columns = [column.tobytes() for column in curves.columns()]
    atomic.write(path, b"".join((line, *columns)))


def read_summary(path: Path, log: Path) -> tuple[dict[str, Any], Curves] | None:
    """Read a summary; None if it is missing, damaged or of another log.

    Returns:
        The head and the curves, as passed to ``write_summary``.
    """
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline())
            known = (head["version"], head["byteorder"]) == (SUMMARY_VERSION, sys.byteorder)
            if not known or head["tail"] != _tail(log, head["offset"]):
                return None
            curves = Curves(values={name: array("d") for name in head["values"]})
            for column in curves.columns():
                column.fromfile(file, head["count"])
            return head, curves
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _tail(log: Path, offset: int) -> str:
    """A fingerprint of a log up to an offset: the SHA-256 of the 4 KiB before it."""
    with log.open("rb") as file:
        file.seek(max(0, offset - TAIL_BYTES))
        return hashlib.sha256(file.read(offset - file.tell())).hexdigest()


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
