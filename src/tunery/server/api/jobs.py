"""/api/v1/jobs: long-running work other than runs; stop, pause and resume."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from tunery.jobs import folder as jobs
from tunery.jobs import start as launch
from tunery.server.api.named import Behind
from tunery.server.security.access import needs

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], dependencies=[Depends(needs("jobs"))])
SHOWN_EVENTS = 200


@router.get("")
def listing(kind: str = "") -> dict[str, Any]:
    """Every job that is remembered, newest first; of one kind, or of all."""
    return {"jobs": [job.as_dict() for job in jobs.listing(kind=kind)]}


@router.get("/{job_id}")
def show(job_id: str) -> dict[str, Any]:
    """The state of one job."""
    return jobs.show(job_id).as_dict()


@router.get("/{job_id}/events")
def events(job_id: str, after: Behind = 0) -> dict[str, Any]:
    """What a job wrote after an event, its latest lines."""
    events, _ = jobs.read_job_events(jobs.open_job(job_id))
    return {"events": [event for event in events if event["seq"] > after][-SHOWN_EVENTS:]}


@router.post("/{job_id}/stop")
def stop(job_id: str) -> dict[str, Any]:
    """End a job."""
    return launch.stop(job_id).as_dict()


@router.post("/{job_id}/pause")
def pause(job_id: str) -> dict[str, Any]:
    """End a job so that it can be gone on with."""
    return launch.pause(job_id).as_dict()


@router.post("/{job_id}/resume")
def resume(job_id: str) -> dict[str, Any]:
    """Go on with a job."""
    return launch.resume(job_id).as_dict()
