"""The topics ``jobs`` (the state of every job) and ``job:ID`` (what one job writes)."""

from __future__ import annotations

import threading
from typing import Any

from tunery import env
from tunery.errors import UnknownName
from tunery.i18n import voice
from tunery.jobs import folder as jobs
from tunery.server.changes import Changes

MOST_EVENTS = 200


class JobsTopic:
    """Messages as in ``server.changes``; an item is ``Job.as_dict()``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: dict[tuple[str, tuple[str, str]], Changes] = {}

    def read(self, argument: str, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Return the jobs that changed."""
        with self._lock:
            changes = self._changes.setdefault((str(env.jobs_dir()), voice()), Changes())
            changes.update({job.id: job.as_dict() for job in jobs.listing()})
        return changes.read(cursor)


class JobTopic:
    """Messages ``event`` (one line a job wrote, with its ``seq``) and ``state`` (the whole job)."""

    def read(self, argument: str, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Return what the job wrote after the cursor ``SEQ:STATUS``."""
        text, _, status = cursor.partition(":")
        seen = int(text) if text.isdecimal() else 0
        try:
            folder = jobs.open_job(argument)
        except UnknownName:
            return ([] if cursor == "gone" else [{"kind": "removed", "id": argument}]), "gone"
        events, _ = jobs.read_job_events(folder)
        fresh = [event for event in events if event["seq"] > seen][:MOST_EVENTS]
        messages = [{"kind": "event", "seq": e["seq"], "event": e} for e in fresh]
        job = jobs.derive(folder)
        if fresh or job.status != status:
            messages.append({"kind": "state", "job": job.as_dict()})
        return messages, f"{fresh[-1]['seq'] if fresh else seen}:{job.status}"
