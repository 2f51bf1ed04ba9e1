"""One run: its curves, samples, checkpoints, log, settings and data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.server.api.named import RunName
from tunery.services import notify, runs
from tunery.services.runs import Made, RunView
from tunery.web.render import render

TABS = ("charts", "samples", "checkpoints", "log", "settings", "data")
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class PageView:
    """The view of run.html.

    Args:
        run: The current state of the run.
        made: How it was made.
        first: One row of its first batch; empty until there is one.
        tab: Which tab is open.
        told: The outcome of its notifications.
        countdown: A pending power-off.
    """

    run: RunView
    made: Made
    first: dict[str, Any]
    tab: str
    told: dict[str, str]
    countdown: notify.Countdown | None


@router.get("/runs/{name}")
def run(request: Request, name: RunName, tab: str = "charts") -> HTMLResponse:
    """Render the page."""
    return render(request, "run.html", look(name, tab))


@router.get("/runs/{name}/-/parts")
def parts(request: Request, name: RunName) -> HTMLResponse:
    """Render what changes while the run is active."""
    return render(request, "run_parts.html", look(name, "charts"))


def look(name: str, tab: str) -> PageView:
    """Gather the view."""
    from tunery.runs.folder import open_run

    seen = runs.view(name)
    return PageView(
        run=seen,
        made=runs.made(name),
        first=runs.first_batch(name),
        tab=tab if tab in TABS else "charts",
        told=notify.outcome(open_run(name)),
        countdown=notify.countdown(),
    )
