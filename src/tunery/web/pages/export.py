"""Export & Serve: export trained models for other programs, and serve models over /v1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery import env
from tunery.services import access, chat
from tunery.services import export as export_service
from tunery.services.chat import SpeakerGroup
from tunery.web.render import render

router = APIRouter(include_in_schema=False)
SHOWN = 8


@dataclass(frozen=True, slots=True)
class ExportView:
    """The view of export.html.

    Args:
        trained: Runs and checkpoints that can be exported.
        everything: All models that can be served.
        run: Which one is selected.
        formats: The export formats.
        folder: An unused folder for it.
        free_bytes: Free space there, in bytes.
        jobs: The most recent exports.
        served: The models served over /v1.
        base_url: The URL of /v1, as this browser sees the server.
        asked_scorer: A reward model that the URL names; it needs no export.
        scorers: The runs that trained a reward model.
    """

    trained: list[SpeakerGroup]
    everything: list[SpeakerGroup]
    run: str
    formats: list[dict[str, str]]
    folder: str
    free_bytes: int
    jobs: list[dict[str, Any]]
    served: list[dict[str, Any]]
    base_url: str
    asked_scorer: str
    scorers: list[str]


@router.get("/export")
def export(request: Request) -> HTMLResponse:
    """Render the page; ``?run=`` selects what to export."""
    everything = chat.speakers()
    trained = chat.trained_speakers()
    names = [name for group in trained for name, _ in group.names]
    asked = access.model(request.query_params.get("run", ""))
    scorer = asked if chat.is_scorer(asked) else ""
    run = (asked if not scorer else "") or (names[0] if names else "")
    formats = export_service.formats()
    folder = export_service.suggested(run or "export", formats[0]["name"])
    view = ExportView(
        trained=trained,
        everything=everything,
        run=run,
        formats=formats,
        folder=str(folder),
        free_bytes=env.free_bytes(folder),
        jobs=export_service.listing()[:SHOWN],
        served=[{"name": one.name, "model": one.model} for one in chat.served()],
        asked_scorer=scorer,
        scorers=chat.scorers(),
        base_url=f"{str(request.base_url).rstrip('/')}/v1",
    )
    return render(request, "export.html", view)
