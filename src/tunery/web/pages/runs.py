"""Runs: the table of all runs, filters, the queue."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.runs import queue
from tunery.services import notify
from tunery.services import runs as run_service
from tunery.web.render import render

MOST_ROWS = 300
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class RunsView:
    """The view of runs.html.

    Args:
        found: The newest runs, from which the filters in the URL select.
        waiting: The queue.
        held: Which run holds which device.
        countdown: A pending power-off.
    """

    found: run_service.Found
    waiting: list[queue.Waiting]
    held: dict[str, str]
    countdown: notify.Countdown | None

    def delta(self, row: run_service.RunRow) -> tuple[str, str] | None:
        """Best validation value minus the baseline's: formatted, and ``good``, ``bad`` or empty."""
        base = self.found.baseline
        if base is None or base.state.name == row.state.name:
            return None
        mine, other = row.facts.best_value, base.facts.best_value
        best = row.state.declared.best
        if mine is None or other is None or best != base.state.declared.best:
            return None
        kind = "good" if best.is_better(mine, other) else "bad" if mine != other else ""
        return best.shown(mine - other, signed=True), kind


def look() -> RunsView:
    """Gather the view."""
    found = run_service.find(run_service.Query(page_size=MOST_ROWS))
    return RunsView(found, queue.waiting(), queue.holders(), notify.countdown())


@router.get("/runs")
def runs(request: Request) -> HTMLResponse:
    """Render the page."""
    return render(request, "runs.html", look())


@router.get("/runs/-/parts")
def parts(request: Request) -> HTMLResponse:
    """Render what changes while the page is open."""
    return render(request, "runs_parts.html", look())
