"""The login page; what checks the token is POST /api/v1/session."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.web.render import render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class LoginView:
    """What login.html draws.

    Args:
        next: Path of this server to go to afterwards.
    """

    next: str


@router.get("/login")
def login(request: Request, next: str = "/") -> HTMLResponse:
    """Draw the page."""
    inside = next.startswith("/") and not next.startswith(("//", "/\\"))
    return render(request, "login.html", LoginView(next if inside else "/"))
