"""The curves of a run, downsampled for display.

``run_log(folder)`` keeps the logs that it has read in memory. A curve of 100,000 steps becomes at
most ``max_points`` points: each bucket keeps its lowest and highest value, so that no spike is
lost, and the bucket's mean is returned as well, so that a smoothed line reflects all points.
"""

from __future__ import annotations

import itertools
import math
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunery.runs.curves import RunLog, pick
from tunery.runs.events import measured, own_measures
from tunery.runs.folder import RunFolder
from tunery.workers.log import Event, number

MAX_POINTS = 2000
AXIS_POINTS = 200
KEPT_LOGS = 16
KEPT_STEPS = 2_000_000
"""Of all logs in memory together, about 100 bytes a step."""


_logs: OrderedDict[Path, RunLog] = OrderedDict()
_logs_lock = threading.Lock()


def run_log(folder: RunFolder) -> RunLog:
    """The current log of a run; the newest runs stay in memory."""
    with _logs_lock:
        path = folder.events_file
        found = _logs.pop(path, None) or RunLog(path)
        _logs[path] = found
    found.refresh()
    with _logs_lock:
        while len(_logs) > 1 and (
            len(_logs) > KEPT_LOGS or sum(len(log.curves) for log in _logs.values()) > KEPT_STEPS
        ):
            _logs.popitem(last=False)
    return found


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
