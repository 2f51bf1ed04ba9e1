"""The page that is shown if another one cannot be rendered."""

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
    """The view of error.html.

    Args:
        status: HTTP status.
        title: What happened, in a few words.
        detail: What is wrong, a sentence.
        fix: What to do.
        request_id: Its number in the server's log.
        known: Whether the user is logged in and may see the navigation.
    """

    status: int
    title: str
    detail: str
    fix: str
    request_id: str
    known: bool


def error_page(scope: Scope, problem: Problem, detail: str, fix: str) -> Response:
    """Render a problem; ``server.problems`` calls it, with sentences that may be shown."""
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
