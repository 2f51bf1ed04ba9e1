"""The page that is shown where another one cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from tunery.i18n import t
from tunery.server.problems import Problem
from tunery.web.render import render


@dataclass(frozen=True, slots=True)
class ErrorView:
    """What error.html draws.

    Args:
        status: HTTP status.
        title: What happened, in a few words.
        detail: What is wrong, a sentence.
        fix: What to do.
        request_id: What the server's log calls it.
        known: Whether the reader is logged in and may see the navigation.
    """

    status: int
    title: str
    detail: str
    fix: str
    request_id: str
    known: bool


def error_page(scope: Scope, problem: Problem, detail: str, fix: str) -> Response:
    """Draw a problem; ``server.problems`` calls it, with sentences that may be shown."""
    state = scope.get("state", {})
    view = ErrorView(
        status=problem.status,
        title=t("Page not found") if problem.status == 404 else t("Something went wrong"),
        detail=detail,
        fix=fix,
        request_id=str(state.get("request_id", "")),
        known=state.get("principal") is not None,
    )
    answer = render(Request(scope), "error.html", view, status=problem.status)
    answer.headers.update(problem.headers)
    return answer
