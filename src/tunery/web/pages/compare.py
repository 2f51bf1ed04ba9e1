"""Compare: two to six runs side by side, under a URL that can be shared."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery import state
from tunery.services import access, runs
from tunery.services.runs import Comparison
from tunery.web.render import render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class CompareView:
    """The view of compare.html.

    Args:
        found: The runs beside each other.
        all_settings: Whether settings that do not differ are shown as well.
    """

    found: Comparison
    all_settings: bool


@router.get("/compare")
def compare(request: Request, ids: str = "", settings: str = "") -> HTMLResponse:
    """Render the page; ``ids`` are run names separated by commas."""
    found = runs.compare([access.run(name) for name in ids.split(",") if name])
    state.mark("compared")
    return render(request, "compare.html", CompareView(found, settings == "all"))
