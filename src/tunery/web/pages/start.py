"""Start: the five first steps, this machine, and the latest runs."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.runs.status import RunStatus
from tunery.services import first_steps, machine
from tunery.services import runs as run_service
from tunery.services.first_steps import Step
from tunery.web.render import render

RECENT_RUNS = 3
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class StartView:
    """The view of start.html.

    Args:
        steps: The five steps; empty once all are done or the user hid them.
        hidden: Whether the user hid them, so that they can be shown again.
        next: Key of the first step that is not done.
        machine: Figures of this machine.
        runs: The latest runs, newest first.
        sparks: The loss of each as points of a sparkline.
    """

    steps: list[Step]
    hidden: bool
    next: str
    machine: machine.Machine
    runs: list[RunStatus]
    sparks: dict[str, str]


@router.get("/")
def start(request: Request) -> HTMLResponse:
    """Render the page."""
    listed = run_service.run_list()
    runs = listed.look()
    steps = first_steps.first_steps(runs)
    following = next((step.key for step in steps if not step.done), "")
    hidden = first_steps.hidden()
    view = StartView(
        steps=steps if following and not hidden else [],
        hidden=hidden and bool(following),
        next=following,
        machine=machine.look(),
        runs=runs[:RECENT_RUNS],
        sparks={run.name: listed.facts(run.name).spark for run in runs[:RECENT_RUNS]},
    )
    return render(request, "start.html", view)
