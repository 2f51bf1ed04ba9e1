"""/api/v1/downloads: models being downloaded, and the hubs they come from."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from tunery.jobs import start as launch
from tunery.server.api.body import Body
from tunery.server.api.named import ModelName
from tunery.server.security.access import needs
from tunery.services import models

router = APIRouter(
    prefix="/api/v1/downloads", tags=["downloads"], dependencies=[Depends(needs("jobs"))]
)


class Wanted(Body):
    """A model to download."""

    name: Annotated[ModelName, Field(min_length=1)]
    source: str = ""


class Token(Body):
    """A token for a source; an empty token deletes the stored one."""

    source: str
    token: Annotated[str, Field(max_length=1024)]


@router.get("")
def listing() -> dict[str, Any]:
    """List downloads that are active, paused or failed, newest first."""
    return {"downloads": [job.as_dict() for job in models.downloads()]}


@router.post("", status_code=201)
def start(wanted: Wanted) -> dict[str, Any]:
    """Download a model; an unfinished download of it is continued."""
    return models.start_download(wanted.name, source_id=wanted.source).as_dict()


@router.get("/sources")
def known_sources() -> dict[str, Any]:
    """List the hubs, the default one first."""
    return {"sources": [source.as_dict() for source in models.sources()]}


@router.put("/token", dependencies=[Depends(needs("admin"))])
def save_token(given: Token) -> dict[str, Any]:
    """Store a token for a hub; no response ever contains it."""
    return models.save_token(given.source, given.token).as_dict()


@router.post("/{job_id}/pause")
def pause(job_id: str) -> dict[str, Any]:
    """Pause a download; the data received so far is kept."""
    return launch.pause(job_id).as_dict()


@router.post("/{job_id}/resume")
def resume(job_id: str) -> dict[str, Any]:
    """Resume a download where it stopped."""
    return launch.resume(job_id).as_dict()


@router.post("/{job_id}/cancel")
def cancel(job_id: str) -> dict[str, Any]:
    """Cancel a download and delete its partial files; returns the bytes freed."""
    return {"freed_bytes": models.cancel_download(job_id)}
