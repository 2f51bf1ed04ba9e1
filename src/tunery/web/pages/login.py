"""The login page; the token is checked by POST /api/v1/session."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.web.render import render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class LoginView:
    """The view of login.html.

    Args:
        next: Path on this server to open afterwards.
    """

    next: str


@router.get("/login")
def login(request: Request, next: str = "/") -> HTMLResponse:
    """Render the page."""
    inside = next.startswith("/") and not next.startswith(("//", "/\\"))
    return render(request, "login.html", LoginView(next if inside else "/"))
