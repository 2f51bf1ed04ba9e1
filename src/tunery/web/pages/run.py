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
    """What run.html draws.

    Args:
        run: The run as it is now.
        made: What it was made with.
        first: One row of its first batch; empty before that.
        tab: Which tab is open.
        told: What became of the messages at its end.
        countdown: A power-off that is under way.
    """

    run: RunView
    made: Made
    first: dict[str, Any]
    tab: str
    told: dict[str, str]
    countdown: notify.Countdown | None


@router.get("/runs/{name}")
def run(request: Request, name: RunName, tab: str = "charts") -> HTMLResponse:
    """Draw the page."""
    return render(request, "run.html", look(name, tab))


@router.get("/runs/{name}/-/parts")
def parts(request: Request, name: RunName) -> HTMLResponse:
    """Draw what changes while the run goes on."""
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
