"""Evaluate: loss and perplexity of models on rows, and their answers in a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.jobs import folder as jobs
from tunery.services import access, chat, datasets
from tunery.services.chat import SpeakerGroup
from tunery.web.render import render

router = APIRouter(include_in_schema=False)
SHOWN = 8


@dataclass(frozen=True, slots=True)
class EvaluateView:
    """The view of evaluate.html.

    Args:
        speakers: The models that can be evaluated.
        chosen: Which of them are selected.
        runs: Runs whose held-out rows can be used.
        datasets: Names of datasets.
        job: The open evaluation, with its rows.
        jobs: Earlier evaluations.
    """

    speakers: list[SpeakerGroup]
    chosen: list[str]
    runs: list[tuple[str, str]]
    datasets: list[str]
    job: dict[str, Any] | None
    jobs: list[dict[str, Any]]


@router.get("/evaluate")
def evaluate(request: Request) -> HTMLResponse:
    """Render the page; ``?job=`` opens a result, ``?model=`` (repeated) selects models."""
    groups = chat.speakers()
    trained = chat.trained_speakers()
    runs = trained[0].names if trained else []
    opened = request.query_params.get("job")
    listed = jobs.listing(kind="evaluate")
    shown = next((job.as_dict() for job in listed if job.id == opened), None)
    asked = [access.model(name) for name in request.query_params.getlist("model")]
    chosen = asked or [name for name, _ in runs[:1]]
    view = EvaluateView(
        speakers=groups,
        chosen=chosen,
        runs=list(runs),
        datasets=[entry["name"] for entry in datasets.listing()],
        job=shown,
        jobs=[{"id": job.id, "title": job.title, "status": job.status} for job in listed[:SHOWN]],
    )
    return render(request, "evaluate.html", view)
