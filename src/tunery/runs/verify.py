"""Check the invariants of a run folder, I1 to I8, for ``tunery runs verify`` and tests.

I1: the newest checkpoint is valid. I2: no checkpoint is invalid. I3: the best one exists. I4: the
numbers of rows add up. I5: no process is left over. I6: no lock is left over. I7: no file contains
a secret. I8: the events are complete and in order.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tunery import env
from tunery.errors import RunError
from tunery.i18n import joined, t
from tunery.runs import manifest
from tunery.runs.curves import events_from
from tunery.runs.folder import RunFolder
from tunery.runs.status import derive
from tunery.workers.log import Event
from tunery.workers.process import WorkerFile, is_locked, session_members

SECRET = re.compile(
    rb"hf_[A-Za-z0-9]{30,}|sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}"
    rb"|AKIA[0-9A-Z]{16}|ms-[0-9a-f]{8}-[0-9a-f-]{27}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
SECRET_VARIABLES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "MODELSCOPE_API_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
)
_TEXT_SUFFIXES = {".json", ".jsonl", ".yaml", ".log", ".1", ".html", ".txt", ".md", ".jinja"}
_CHUNK_BYTES = 2**20
_LOG_CHUNK_BYTES = 2**18
"""Bytes of the log parsed at once; the events take about ten times as much memory."""


@dataclass(frozen=True)
class Finding:
    """The result of checking one invariant.

    Args:
        id: ``I1`` to ``I8``.
        ok: Whether it holds.
        text: The result in a sentence, translated.
    """

    id: str
    ok: bool
    text: str

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain data, for ``--json``."""
        return asdict(self)


def check_run(folder: RunFolder) -> Iterator[Finding]:
    """Check a run folder; yields each finding as soon as it is known."""
    run = derive(folder)
    log = _read_log(folder.events_file)
    yield from _checkpoints(folder, log, finished=run.status == "finished", live=run.is_live)
    yield _rows(log)
    if run.is_live:
        state = t("the run is {status}", status=run.status)
        yield Finding("I5", True, t("Worker: alive, as expected ({state}).", state=state))
        yield Finding("I6", True, t("Locks: held by the active run."))
    else:
        yield _nobody_alive(folder)
        yield _locks_free(folder)
    yield _secrets(folder)
    yield _order(log)


@dataclass
class _Log:
    """The facts of an event log that the checks need.

    Args:
        checkpoints: Steps of the checkpoints written, in order.
        best: Step of the last checkpoint marked as best; None if there is none.
        rows: The last ``rows`` event.
        num_events: Number of events.
        num_lines: Number of complete lines.
        in_order: Whether ``seq`` counts from 1 without gaps.
    """

    checkpoints: list[int] = field(default_factory=list[int])
    best: int | None = None
    rows: Event | None = None
    num_events: int = 0
    num_lines: int = 0
    in_order: bool = True

    def take(self, event: Event) -> None:
        """Add the next event."""
        self.num_events += 1
        self.in_order = self.in_order and event["seq"] == self.num_events
        match event["type"]:
            case "checkpoint":
                self.checkpoints.append(int(event["step"]))
                if event.get("best"):
                    self.best = int(event["step"])
            case "rows":
                self.rows = event
            case _:
                pass


def _read_log(path: Path) -> _Log:
    """Read a log in parts; a truncated last line is ignored."""
    log, offset = _Log(), 0
    while True:
        events, end = events_from(path, offset, limit=_LOG_CHUNK_BYTES)
        if end == offset:
            break
        for event in events:
            log.take(event)
        offset = end
    log.num_lines = _count_lines(path, offset)
    return log


def _count_lines(path: Path, size: int) -> int:
    """Count the line breaks in the first ``size`` bytes of a file; 0 if it is missing."""
    count = 0
    if size:
        with path.open("rb") as file:
            while size > 0 and (chunk := file.read(min(size, _LOG_CHUNK_BYTES))):
                count += chunk.count(b"\n")
                size -= len(chunk)
    return count


def _checkpoints(folder: RunFolder, log: _Log, *, finished: bool, live: bool) -> Iterator[Finding]:
    saved = manifest.list_checkpoints(folder.checkpoints_dir)
    broken: dict[Path, str] = {}
    for checkpoint in saved:
        try:
            manifest.verify(checkpoint)
        except RunError as error:
            if checkpoint.exists():  # else retention deleted it meanwhile
                broken[checkpoint] = error.message
    written = log.checkpoints
    good = [c for c in saved if c not in broken]
    if not written and not saved:
        yield Finding("I1", True, t("Checkpoints: none."))
    elif good:
        newest = good[-1].name
        fallen_back = bool(written) and _number(good[-1]) < written[-1] and not live
        text = t("Newest valid checkpoint: {name}.", name=newest)
        if fallen_back:
            newer = t("A newer one, step {step}, is missing.", step=written[-1])
            text = joined(text, newer)
        yield Finding("I1", not fallen_back, text)
    else:
        yield Finding("I1", finished and not saved, t("No valid checkpoint remains."))
    if broken:
        yield Finding("I2", False, joined(*broken.values()))
    else:
        yield Finding("I2", True, t("All checkpoints are complete: {count}.", count=len(good)))
    yield _best(folder, log.best, good)


def _number(checkpoint: Path) -> int:
    return manifest.step_of(checkpoint) or 0


def _best(folder: RunFolder, best: int | None, good: list[Path]) -> Finding:
    if best is None:
        return Finding("I3", True, t("No checkpoint is marked as best."))
    if folder.checkpoint_dir(best) in good:
        return Finding("I3", True, t("The best checkpoint, step {step}, exists.", step=best))
    return Finding("I3", False, t("The best checkpoint, step {step}, is missing.", step=best))


def _rows(log: _Log) -> Finding:
    rows = log.rows
    if rows is None:
        return Finding("I4", True, t("Rows: none were read."))
    filtered: dict[str, int] = rows["filtered"]
    left_out = sum(filtered.values())
    ok = rows["read"] == rows["used"] + rows["quarantined"] + left_out
    text = t("Rows: {read} read = {used} used + {quarantined} set aside + {filtered} filtered.",
             read=rows["read"], used=rows["used"], quarantined=rows["quarantined"],
             filtered=left_out)  # fmt: skip
    return Finding("I4", ok, text)


def _nobody_alive(folder: RunFolder) -> Finding:
    who = WorkerFile(folder).read()
    left = session_members(who["pid"]) if who.get("role") == "worker" else []
    if left:
        return Finding("I5", False, t("Leftover processes of this run: {pids}.", pids=left))
    return Finding("I5", True, t("No leftover processes of this run."))


def _locks_free(folder: RunFolder) -> Finding:
    held = [folder.lock_file] if is_locked(folder.lock_file) else []
    for lock in env.locks_dir().glob("device-*.lock"):
        try:
            holder = json.loads(lock.read_text(encoding="utf-8") or "{}").get("run")
        except (OSError, ValueError):
            continue
        if holder == folder.name and is_locked(lock):
            held.append(lock)
    if held:
        return Finding("I6", False, t("Still locked: {files}.", files=[str(h) for h in held]))
    return Finding("I6", True, t("No leftover locks."))


def _secrets(folder: RunFolder) -> Finding:
    known = [os.environ[name].encode() for name in SECRET_VARIABLES if os.environ.get(name)]
    found: list[str] = []
    for path in sorted(folder.path.rglob("*")):
        if path.suffix in _TEXT_SUFFIXES and path.is_file() and _has_secret(path, known):
            found.append(str(path.relative_to(folder.path)))
    if found:
        return Finding("I7", False, t("Possible secrets found in: {files}.", files=found))
    return Finding("I7", True, t("No secrets found in its files."))


def _has_secret(path: Path, known: list[bytes]) -> bool:
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            window = tail + chunk
            if SECRET.search(window) or any(secret in window for secret in known):
                return True
            tail = chunk[-256:]
    return False


def _order(log: _Log) -> Finding:
    if log.in_order and log.num_events == log.num_lines:
        text = t("Events are complete and in order: {count}.", count=log.num_lines)
        return Finding("I8", True, text)
    return Finding("I8", False, t("The event log has gaps or damaged lines."))
