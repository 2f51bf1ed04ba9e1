"""Compare: two to six runs beside each other, by a link that can be shared."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery import state
from tunery.services import door, runs
from tunery.services.runs import Comparison
from tunery.web.render import render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class CompareView:
    """What compare.html draws.

    Args:
        found: The runs beside each other.
        all_settings: Whether those that do not differ are shown too.
    """

    found: Comparison
    all_settings: bool


@router.get("/compare")
def compare(request: Request, ids: str = "", settings: str = "") -> HTMLResponse:
    """Draw the page; ``ids`` are names with commas between."""
    found = runs.compare([door.run(name) for name in ids.split(",") if name])
    state.mark("compared")
    return render(request, "compare.html", CompareView(found, settings == "all"))
