"""Jobs: long-running work other than training, each in its own process with its own folder.

TUNERY_HOME/jobs/ID/ holds job.json (the request, and the result), events.jsonl (written only by the
job), worker.json, exit.json, worker.log and control/, like a run folder. A job's state is derived
from these each time and never stored. Nothing here starts or signals a process.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tunery import atomic, env
from tunery.errors import UnknownName
from tunery.i18n import language, retold, t
from tunery.workers.ending import cause_of_end
from tunery.workers.folder import WorkFolder, read_json, write_json
from tunery.workers.log import Event, number, read_events
from tunery.workers.process import Control, WorkerFile, is_alive, is_locked, try_lock

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
Status = Literal["queued", "running", "paused", "done", "failed", "stopped", "interrupted"]
STATUSES = ("queued", "running", "paused", "done", "failed", "stopped")
EVENTS: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "progress": ("done", "total", "unit", "text"),
    "say": ("text",),
}
"""Event types of a job; ``progress`` may carry more for its page, such as the files of a model."""
LIVE = frozenset({"queued", "running"})
RESUMABLE = frozenset({"paused", "interrupted", "failed", "stopped"})
TAIL_BYTES = 32 * 1024
KEPT_JOBS = 60
KEPT_SECONDS = 30 * 86400.0
_TRASH = ".trash-"


@dataclass(frozen=True)
class JobFolder(WorkFolder):
    """The paths inside one job folder: those of any worker, and job.json."""

    @property
    def job_file(self) -> Path:
        """job.json: kind, title, arguments, and the result once there is one."""
        return self.path / "job.json"


@dataclass(frozen=True)
class JobControl(Control):
    """Requests to a job from other processes: stop and pause."""

    @property
    def _pause(self) -> Path:
        return self.folder.control_dir / "pause"

    def request_pause(self) -> None:
        """Ask the job to exit so that it can be resumed later."""
        self._pause.parent.mkdir(parents=True, exist_ok=True)
        self._pause.touch()

    def pause_requested(self) -> bool:
        """Whether a pause was requested."""
        return self._pause.exists()

    def clear(self) -> None:
        """Clear all requests before the job starts again."""
        super().clear()
        self._pause.unlink(missing_ok=True)


@dataclass
class Job:
    """Everything a page shows of one job.

    Args:
        id: Name of its folder.
        kind: Kind of work, a name in ``services.job_kinds.KINDS``.
        title: Short description for users.
        status: Derived; ``queued`` waits for other jobs of its kind.
        arguments: Arguments of the request; never a secret.
        resumable: Whether its kind can continue where it stopped.
        created: Wall-clock time when it was requested.
        ended: Wall-clock time of its last event, if it is over.
        reason: Why it failed, was interrupted or is waiting.
        fix: What to do about it.
        error: The error's name, code and fields, if it failed.
        progress: Fields of the last ``progress`` event: done, total, unit, text and more.
        said: The last message it wrote.
        result: Its result, once it is done.
        pid: Process id, while it is running.
    """

    id: str
    kind: str
    title: str
    status: Status = "queued"
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    resumable: bool = False
    created: float = 0.0
    ended: float | None = None
    reason: str = ""
    fix: str = ""
    error: dict[str, Any] = field(default_factory=dict[str, Any])
    progress: dict[str, Any] = field(default_factory=dict[str, Any])
    said: str = ""
    result: dict[str, Any] | None = None
    pid: int | None = None

    @property
    def is_live(self) -> bool:
        """Whether it is queued or running."""
        return self.status in LIVE

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the REST API and the live channel."""
        return asdict(self)


def create(
    kind: str, arguments: dict[str, Any], title: str, *, resumable: bool = False
) -> JobFolder:
    """Create a job's folder atomically, and remove old finished jobs.

    Args:
        kind: Kind of work.
        arguments: Arguments of the request, plain data without secrets.
        title: Short description for users.
        resumable: Whether it can continue where it stopped.
    """
    forget_old()
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    name = f"{stamp}-{kind}-{os.urandom(3).hex()}"
    final, staging = env.jobs_dir() / name, env.jobs_dir() / f".new-{name}"
    (staging / "control").mkdir(parents=True)
    card = {
        "kind": kind,
        "title": title,
        "arguments": arguments,
        "created": round(now, 3),
        "language": language(),
        "resumable": resumable,
    }
    write_json(JobFolder(staging).job_file, card)
    staging.rename(final)
    atomic.flush(final.parent)
    return JobFolder(final)


def open_job(job_id: str) -> JobFolder:
    """Find a job by its id.

    Raises:
        UnknownName: There is no such job.
    """
    folder = JobFolder(env.jobs_dir() / job_id)
    if not ID.fullmatch(job_id) or not folder.job_file.is_file():
        raise UnknownName(
            t("Job {job!r} not found.", job=job_id[:64]),
            fix=t("It may have finished and been removed."),
        )
    return folder


def listing(*, kind: str = "") -> list[Job]:
    """The state of all jobs, or of all jobs of one kind, newest first."""
    jobs = [derive(folder) for folder in _folders()]
    return sorted(
        (job for job in jobs if not kind or job.kind == kind),
        key=lambda job: (job.created, job.id),
        reverse=True,
    )


def show(job_id: str) -> Job:
    """The state of one job.

    Raises:
        UnknownName: There is no such job.
    """
    return derive(open_job(job_id))


def derive(folder: JobFolder) -> Job:
    """Derive a job's state from its folder."""
    card = read_json(folder.job_file)
    who = WorkerFile(folder).read()
    events = _tail(folder, int(who.get("events_offset") or 0))
    job = Job(
        id=folder.name,
        kind=str(card.get("kind") or ""),
        title=str(card.get("title") or ""),
        arguments=card.get("arguments") or {},
        resumable=bool(card.get("resumable")),
        created=number(card.get("created")) or 0.0,
        result=card.get("result"),
    )
    said: Event | None = None
    for event in events:
        match event["type"]:
            case "progress":
                hidden = ("seq", "clock", "type", "phrases")
                job.progress = {key: event[key] for key in event if key not in hidden}
                job.progress["text"] = retold(event, "text")
            case "say":
                job.said = retold(event, "text")
            case "status":
                said = event
            case _:
                pass
    alive = is_alive(who)
    if alive or is_locked(folder.lock_file):
        job.pid = who.get("pid") if alive else None
        job.status = said["status"] if said and said["status"] in LIVE else "queued"
        job.reason = retold(said, "reason") if said else ""
    elif said and said["status"] not in LIVE:
        _final(job, said)
    else:
        _gone(job, folder, who)
    if not job.is_live:
        job.ended = number(events[-1].get("time")) if events else job.created
    return job


def read_job_events(folder: JobFolder, offset: int = 0) -> tuple[list[Event], int]:
    """Read a job's events starting at an offset; also returns the offset to continue from."""
    return read_events(folder.events_file, offset)


def keep_result(folder: JobFolder, result: dict[str, Any]) -> None:
    """Write a job's result into job.json."""
    write_json(folder.job_file, {**read_json(folder.job_file), "result": result})


def forget(job_id: str) -> None:
    """Remove a finished job and its folder; files it created elsewhere are kept.

    Raises:
        UnknownName: There is no such job.
    """
    _remove(open_job(job_id))


def forget_old(*, keep: int = KEPT_JOBS, seconds: float = KEPT_SECONDS) -> None:
    """Remove finished jobs beyond the newest ones, and those older than ``seconds``."""
    for entry in env.jobs_dir().glob(f"{_TRASH}*"):
        shutil.rmtree(entry, ignore_errors=True)
    over = [job for job in listing() if job.status in ("done", "failed", "stopped", "interrupted")]
    for place, job in enumerate(over):
        if place >= keep or time.time() - (job.ended or job.created) > seconds:
            with contextlib.suppress(UnknownName, FileNotFoundError):
                _remove(open_job(job.id))


def _remove(folder: JobFolder) -> None:
    lock = try_lock(folder.lock_file)
    if lock is None:
        return
    try:
        trash = folder.path.with_name(f"{_TRASH}{folder.name}")
        folder.path.rename(trash)
    finally:
        os.close(lock)
    shutil.rmtree(trash, ignore_errors=True)


def _folders() -> list[JobFolder]:
    try:
        with os.scandir(env.jobs_dir()) as entries:
            names = [e.name for e in entries if ID.fullmatch(e.name) and e.is_dir()]
    except OSError:
        return []
    return [JobFolder(env.jobs_dir() / name) for name in names]


def _tail(folder: JobFolder, begin: int) -> list[Event]:
    """The most recent events of this attempt."""
    try:
        size = folder.events_file.stat().st_size
    except OSError:
        return []
    return read_events(folder.events_file, max(begin, size - TAIL_BYTES))[0]


def _final(job: Job, said: Event) -> None:
    job.status = said["status"]
    job.reason = retold(said, "reason")
    job.fix = retold(said, "fix")
    job.error = said.get("error") or {}


def _gone(job: Job, folder: JobFolder, who: dict[str, Any]) -> None:
    """Set the status of a job whose process is gone without having written a final status."""
    end = read_json(folder.exit_file)
    if end.get("pid") != who.get("pid"):
        end = {}
    control = JobControl(folder)
    asked = control.was_killed() or end.get("signal") == signal.SIGTERM
    if asked and control.pause_requested():
        job.status = "paused"
    elif asked and control.stop_requested():
        job.status = "stopped"
    else:
        job.status = "interrupted"
        job.reason = cause_of_end(who, end, folder)
