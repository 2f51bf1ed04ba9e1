"""Evaluate: loss and perplexity of models on rows, and their answers in a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.jobs import folder as jobs
from tunery.services import access, chat, datasets
from tunery.services import evaluate as evaluation
from tunery.services.chat import SpeakerGroup
from tunery.services.evaluate import HeldOut
from tunery.web.render import render

router = APIRouter(include_in_schema=False)
SHOWN = 8


@dataclass(frozen=True, slots=True)
class EvaluateView:
    """The view of evaluate.html.

    Args:
        speakers: The models that can be evaluated.
        chosen: Which of them are selected.
        runs: The runs among them, with the number of their held-out rows.
        datasets: Names of datasets.
        job: The open evaluation, with its rows.
        jobs: Earlier evaluations.
    """

    speakers: list[SpeakerGroup]
    chosen: list[str]
    runs: list[HeldOut]
    datasets: list[str]
    job: dict[str, Any] | None
    jobs: list[dict[str, Any]]

    @property
    def rows_of(self) -> str:
        """The run whose held-out rows are selected: the first of the selected models that has some.

        Empty if none has: the user chooses.
        """
        there = {run.run for run in self.runs if run.rows}
        chosen = (name.partition("@")[0] for name in self.chosen)
        return next((name for name in chosen if name in there), "")

    @property
    def known_runs(self) -> list[dict[str, Any]]:
        """The runs for the page's script."""
        return [asdict(run) for run in self.runs]


@router.get("/evaluate")
def evaluate(request: Request) -> HTMLResponse:
    """Render the page; ``?job=`` opens a result, ``?model=`` (repeated) selects models."""
    groups = chat.speakers()
    trained = chat.trained_speakers()
    names = [name for group in trained for name, _ in group.names]
    opened = request.query_params.get("job")
    listed = jobs.listing(kind="evaluate")
    shown = next((job.as_dict() for job in listed if job.id == opened), None)
    asked = [access.model(name) for name in request.query_params.getlist("model")]
    runs = evaluation.held_out(names)
    measured = {run.run for run in runs if run.rows}
    chosen = asked or [n for n in names if n.partition("@")[0] in measured][:1] or names[:1]
    view = EvaluateView(
        speakers=groups,
        chosen=chosen,
        runs=runs,
        datasets=[entry["name"] for entry in datasets.listing()],
        job=shown,
        jobs=[{"id": job.id, "title": job.title, "status": job.status} for job in listed[:SHOWN]],
    )
    return render(request, "evaluate.html", view)
