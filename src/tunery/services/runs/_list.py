"""All runs as the runs table shows them.

Everything comes from the run folders; what is derived from one is cached until the folder changes,
so a table of a thousand runs and a tick of the live channel cost about as much as listing them. Of
very many runs, only the newest and the active ones are checked each time, the others in rotation:
ten thousand finished runs cost a few milliseconds per tick. A run started in a terminal is in the
table because its folder is there.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunery import env
from tunery.config.load import read_frozen
from tunery.errors import TuneryError
from tunery.i18n import again, voice
from tunery.runs.curves import RunLog, pick
from tunery.runs.folder import RunFolder, names
from tunery.runs.status import RunStatus, derive
from tunery.services.runs import _metrics
from tunery.services.runs._marks import NONE, Marks, all_marks
from tunery.workers.log import number, plain

SPARK_POINTS = 60
SPARK_WIDTH, SPARK_HEIGHT = 120, 28
FRESH_SECONDS = 0.5
"""An active run is checked again after this time, however many clients ask."""
NEWEST = 500
"""Number of newest runs whose files are checked each time."""
IN_TURN = 1000
"""Number of older runs checked each time: all of 10,000 within ten checks."""
SCAN_SECONDS = 10.0
"""The folder of all runs is read at least this often, whatever its modification time says."""


@dataclass(frozen=True)
class Facts:
    """What a row shows besides the status; read from the whole log, once per change of it.

    Args:
        best_value: Best held-out value of the deciding measure.
        best_step: Its step.
        spark: The loss as points of a sparkline.
        learning_rate: From the settings.
        num_epochs: Of the plan, where ``train.max_steps`` may end it earlier; without one, from
            the settings.
    """

    best_value: float | None = None
    best_step: int | None = None
    spark: str = ""
    learning_rate: float | None = None
    num_epochs: float | None = None


@dataclass(frozen=True)
class RunRow:
    """One run in the table."""

    state: RunStatus
    facts: Facts
    marks: Marks

    @property
    def title(self) -> str:
        """Its display name."""
        return self.marks.title or self.state.name

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the REST API."""
        return {**self.state.as_dict(), **plain(vars(self.facts)), **plain(vars(self.marks))}


Signature = tuple[tuple[int, int, int], ...]


@dataclass
class _Kept:
    signature: Signature
    state: RunStatus
    looked: float
    facts: Facts | None = None
    facts_of: Signature = ()


@dataclass
class RunList:
    """The runs of one folder and what was derived from each; one per process and folder."""

    runs_dir: Path
    kept: dict[str, _Kept] = field(default_factory=dict[str, _Kept])
    lock: threading.RLock = field(default_factory=threading.RLock)
    _there: list[str] = field(default_factory=list[str])
    _scanned: tuple[int, float] = (0, 0.0)
    _states: list[RunStatus] = field(default_factory=list[RunStatus])
    _said: dict[tuple[str, str], list[RunStatus]] = field(
        default_factory=dict[tuple[str, str], list[RunStatus]]
    )
    """The states with their sentences in each language and wording that was asked for."""
    _changed: bool = True
    _turn: int = 0

    def look(self) -> list[RunStatus]:
        """Derive what changed; all states, newest first: the same list while nothing changes."""
        with self.lock:
            there = self._names()
            if len(there) != len(self.kept) or self._changed:
                for name in self.kept.keys() - set(there):
                    del self.kept[name]
                    self._changed = True
            for name in self._due(there):
                self._look_at(name)
            if self._changed:
                states = [kept.state for kept in self.kept.values()]
                states.sort(key=lambda run: (run.started or 0.0, run.name), reverse=True)
                self._states, self._changed, self._said = states, False, {}
            spoken = voice()
            if spoken not in self._said:
                self._said[spoken] = [_said_again(state) for state in self._states]
            return self._said[spoken]

    def _names(self) -> list[str]:
        """Names of all runs; read again only if the folder changed, or had just changed."""
        try:
            changed = self.runs_dir.stat().st_mtime_ns
        except OSError:
            changed = 0
        known, at = self._scanned
        now = time.time()
        settled = changed == known and at - changed / 1e9 > 1.0
        if not settled or abs(now - at) > SCAN_SECONDS:
            there = names()
            self._changed = self._changed or there != self._there
            self._there, self._scanned = there, (changed, now)
        return self._there

    def _due(self, there: list[str]) -> Iterable[str]:
        """Which runs to check now."""
        if len(there) <= NEWEST + IN_TURN:
            return there
        begin = self._turn % len(there)
        self._turn = begin + IN_TURN
        due = {state.name for state in self._states[:NEWEST]}
        due.update(there[begin : begin + IN_TURN])
        due.update(state.name for state in self._states if state.is_live)
        due.update(name for name in there if name not in self.kept)
        return due & set(there) if self._changed else due

    def facts(self, name: str) -> Facts:
        """What the table shows from a run's whole log."""
        with self.lock:
            kept = self.kept.get(name)
        if kept is None:
            return Facts()
        if kept.facts is None or kept.facts_of != kept.signature:
            kept.facts, kept.facts_of = _facts(self.runs_dir / name), kept.signature
        return kept.facts

    def look_again(self, name: str) -> None:
        """Derive one run's state now, however recently that was done: for a page that shows it."""
        with self.lock:
            self._look_at(name, fresh=True)

    def _look_at(self, name: str, *, fresh: bool = False) -> None:
        signature = _signature(self.runs_dir / name)
        kept = self.kept.get(name)
        now = time.monotonic()
        if kept is not None:
            settled = not kept.state.is_live and kept.signature == signature
            lately = kept.state.is_live and now - kept.looked < FRESH_SECONDS
            if settled or (lately and not fresh):
                return
        state = derive(RunFolder(self.runs_dir / name))
        self._changed = True
        if kept is None:
            self.kept[name] = _Kept(signature, state, now)
        else:
            kept.signature, kept.state, kept.looked = signature, state, now


def _said_again(state: RunStatus) -> RunStatus:
    """A state with its sentences as the present reader is told them."""
    if not state.reason and not state.fix:
        return state
    return replace(state, reason=again(state.reason), fix=again(state.fix))


_PLACE = RunFolder(Path())
_FILES = tuple(
    str(path)
    for path in (
        _PLACE.events_file,
        _PLACE.exit_file,
        _PLACE.worker_file,
        _PLACE.checkpoints_dir,
        _PLACE.card_file,
    )
)


def _signature(folder: Path) -> Signature:
    place = str(folder)  # strings: a Path for each of 50,000 files costs more than its stat
    return tuple(_stat(f"{place}/{name}") for name in _FILES)


def _stat(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _facts(path: Path) -> Facts:
    folder = RunFolder(path)
    state = derive(folder)
    told = _metrics.run_log(folder) if state.is_live else RunLog(folder.events_file).refresh()
    step, value = _metrics.best_eval(told) or (None, None)
    card = folder.card()
    rate, epochs = number(card.get("learning_rate")), number(card.get("num_epochs"))
    if rate is None:
        rate, epochs = _of_config(folder)
    plan = told.last("plan")
    if plan is not None and plan.get("steps_per_epoch"):
        epochs = round(plan["num_steps"] / plan["steps_per_epoch"], 2)
    return Facts(value, step, spark(told), rate, epochs)


def _of_config(folder: RunFolder) -> tuple[float | None, float | None]:
    """Settings of a run whose metadata does not contain them."""
    try:
        config = read_frozen(folder.config_file)
    except TuneryError:
        return None, None
    return config.optim.learning_rate, config.train.num_epochs


def spark(told: RunLog) -> str:
    """The loss as the points of an SVG polyline in a box of SPARK_WIDTH x SPARK_HEIGHT."""
    with told.lock:
        losses = told.curves.values["loss"]
        places = pick(losses, 0, len(losses), SPARK_POINTS)
        points = [(i, losses[i]) for i in places if abs(losses[i]) < float("inf")]
    if len(points) < 2:
        return ""
    first, last = points[0][0], points[-1][0]
    low, high = min(y for _, y in points), max(y for _, y in points)
    wide, tall = SPARK_WIDTH - 4, SPARK_HEIGHT - 6

    def place(x: float, y: float) -> str:
        across = 2 + wide * (x - first) / (last - first)
        down = 3 + tall * (high - y) / ((high - low) or 1.0)
        return f"{across:.1f},{down:.1f}"

    return " ".join(place(x, y) for x, y in points)


_lists: dict[Path, RunList] = {}
_rolls_lock = threading.Lock()


def run_list() -> RunList:
    """The runs in this TUNERY_HOME."""
    with _rolls_lock:
        return _lists.setdefault(env.runs_dir(), RunList(env.runs_dir()))


STATUS_GROUPS = {
    "running": ("queued", "running", "stopping", "paused"),
    "done": ("finished", "stopped"),
    "failed": ("failed", "interrupted"),
}
"""The filter chips, and the statuses that each includes."""


@dataclass(frozen=True)
class Query:
    """Which rows, in which order: the content of the page's URL."""

    search: str = ""
    status: str = ""
    model: str = ""
    dataset: str = ""
    tag: str = ""
    sort: str = "started"
    descending: bool = True
    page: int = 1
    page_size: int = 25


@dataclass(frozen=True)
class Found:
    """The result of a query.

    Args:
        rows: The rows of this page.
        total: How many runs match.
        counts: Number of runs per status chip.
        models: Every model that was trained, most used first.
        datasets: Every dataset.
        tags: Every tag.
        baseline: The baseline's row, even if it is not on this page.
    """

    rows: list[RunRow]
    total: int
    counts: dict[str, int]
    models: list[str]
    datasets: list[str]
    tags: list[str]
    baseline: RunRow | None


SORTS: dict[str, Callable[[RunRow], Any]] = {
    "started": lambda r: r.state.started,
    "name": lambda r: r.title.lower(),
    "status": lambda r: r.state.status,
    "loss": lambda r: r.state.loss,
    "best": lambda r: r.facts.best_value,
    "rate": lambda r: r.facts.learning_rate,
    "epochs": lambda r: r.facts.num_epochs,
    "time": lambda r: r.state.duration_seconds,
}


def find(query: Query) -> Found:
    """One page of the runs that match; pinned ones first."""
    runs = run_list()
    states, marks = runs.look(), all_marks()

    def row(state: RunStatus, *, full: bool = True) -> RunRow:
        facts = runs.facts(state.name) if full else Facts()
        return RunRow(state, facts, marks.get(state.name, NONE))

    matching = [s for s in states if _matches(s, marks.get(s.name, NONE), query)]
    # Only some columns need the whole log of every run; the page's own rows always do.
    needed = query.sort in ("best", "rate", "epochs")
    rows = [row(s, full=needed) for s in matching]
    key = SORTS.get(query.sort, SORTS["started"])
    there = [r for r in rows if key(r) is not None]
    there.sort(key=key, reverse=query.descending)
    rows = [*there, *(r for r in rows if key(r) is None)]
    rows.sort(key=lambda r: not r.marks.pinned)
    begin = max(0, query.page - 1) * query.page_size
    baseline = next((s for s in states if marks.get(s.name, NONE).baseline), None)
    return Found(
        rows=[row(r.state) for r in rows[begin : begin + query.page_size]],
        total=len(rows),
        counts={g: sum(s.status in of for s in states) for g, of in STATUS_GROUPS.items()},
        models=_most(s.model for s in states if s.model),
        datasets=_most(name for s in states for name in s.data),
        tags=_most(tag for s in states for tag in marks.get(s.name, NONE).tags),
        baseline=row(baseline) if baseline else None,
    )


def _matches(state: RunStatus, marks: Marks, query: Query) -> bool:
    if query.status and state.status not in STATUS_GROUPS.get(query.status, (query.status,)):
        return False
    if query.model and state.model != query.model:
        return False
    if query.dataset and query.dataset not in state.data:
        return False
    if query.tag and query.tag not in marks.tags:
        return False
    text = " ".join((state.name, marks.title, state.model or "", *state.data, *marks.tags)).lower()
    return all(word in text for word in query.search.lower().split())


def _most(values: Any) -> list[str]:
    counted: dict[str, int] = {}
    for value in values:
        counted[value] = counted.get(value, 0) + 1
    return sorted(counted, key=lambda v: (-counted[v], v))


def rows_of(chosen: Sequence[str]) -> list[RunRow]:
    """The rows of some runs, in that order; runs that are gone are left out."""
    runs = run_list()
    states = {state.name: state for state in runs.look()}
    marks = all_marks()
    return [
        RunRow(states[name], runs.facts(name), marks.get(name, NONE))
        for name in chosen
        if name in states
    ]
