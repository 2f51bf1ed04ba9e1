"""/api/v1/jobs: long-running work other than runs; stop, pause and resume."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from tunery.jobs import folder as jobs
from tunery.jobs import start as launch
from tunery.server.api.named import Behind, check_choice
from tunery.server.security.access import needs
from tunery.services.job_kinds import KINDS

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], dependencies=[Depends(needs("jobs"))])
SHOWN_EVENTS = 200


@router.get("")
def listing(kind: str = "") -> dict[str, Any]:
    """List all stored jobs, newest first; ``kind`` selects one kind."""
    check_choice("kind", kind, KINDS)
    return {"jobs": [job.as_dict() for job in jobs.listing(kind=kind)]}


@router.get("/{job_id}")
def show(job_id: str) -> dict[str, Any]:
    """Get the state of a job."""
    return jobs.show(job_id).as_dict()


@router.get("/{job_id}/events")
def events(job_id: str, after: Behind = 0) -> dict[str, Any]:
    """Get a job's events after a given one; only the latest are returned."""
    events, _ = jobs.read_job_events(jobs.open_job(job_id))
    return {"events": [event for event in events if event["seq"] > after][-SHOWN_EVENTS:]}


@router.post("/{job_id}/stop")
def stop(job_id: str) -> dict[str, Any]:
    """Stop a job."""
    return launch.stop(job_id).as_dict()


@router.post("/{job_id}/pause")
def pause(job_id: str) -> dict[str, Any]:
    """Pause a job, so that it can be resumed; refused for a job that cannot be paused."""
    return launch.pause(job_id).as_dict()


@router.post("/{job_id}/resume")
def resume(job_id: str) -> dict[str, Any]:
    """Resume a job that was paused, stopped, interrupted or failed."""
    return launch.resume(job_id).as_dict()
