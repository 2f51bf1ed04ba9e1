"""Errors as responses: RFC 9457 problem details, one format for the pages and the REST API.

    {"type", "title", "status", "code", "detail", "fix", "params", "remedies", "request_id"}

Only the sentences of a ``TuneryError`` reach a client; any other exception is a 500 with the
request's number, and the rest is in the server's log. Paths under ``/v1`` respond in OpenAI's
format, and a browser that requested a page gets a small error page.
"""

from __future__ import annotations

import html
import http
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from tunery.errors import EngineError, TuneryError, UnknownName, disk_error
from tunery.i18n import joined, language, t
from tunery.redaction import redact
from tunery.server.faults import faults, nested_models
from tunery.server.statuses import STATUSES
from tunery.services.machine import ALLOW
from tunery.types import is_list

_PATHS = re.compile(r"(?<![\w./])~?/(?:[^\s/'\"<>]+/)+([^\s/'\"<>]+)")


@dataclass(frozen=True, slots=True)
class Problem:
    """One rejected or failed request.

    Args:
        status: HTTP status.
        detail: What is wrong, a sentence.
        fix: What to do.
        code: Stable machine-readable name.
        params: Values in the sentence, as data.
        remedies: Buttons that fix it: ``{"action", "label", ...}``.
        headers: Additional response headers, such as Retry-After.
    """

    status: int
    detail: str
    fix: str = ""
    code: str = ""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    remedies: Sequence[Mapping[str, Any]] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def from_error(error: TuneryError) -> Problem:
    """Describe an error for the user."""
    params = {k: v for k, v in error.as_dict().items() if k not in _SENTENCES}
    remedies = params.pop("remedies", ())
    status = STATUSES.get(error.code, 404 if isinstance(error, UnknownName) else 422)
    headers: dict[str, str] = {}
    if isinstance(error, EngineError) and error.code == "queue_full":
        headers["Retry-After"] = str(max(1, round(params.get("retry_after_seconds") or 1)))
    return Problem(
        status,
        error.message,
        fix=error.fix,
        code=error.code or type(error).__name__,
        params=params,
        remedies=remedies if is_list(remedies) else (),
        headers=headers,
    )


def unknown(sentence: str, *, fix: str = "") -> TuneryError:
    """Make the error for something that does not exist (404)."""
    return UnknownName(sentence, fix=fix, code="unknown")


def answer(scope: Scope, problem: Problem) -> Response:
    """Write a problem in the format that clients of the path expect."""
    path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
    if path.startswith("/v1/"):
        from tunery.server.anthropic import errors as anthropic  # each API defines its own format
        from tunery.server.openai import errors

        told = redact(joined(problem.detail, problem.fix))
        if anthropic.is_ours(path):
            return anthropic.answer(problem.status, told, headers=dict(problem.headers))
        return errors.answer(
            problem.status,
            told,
            code=problem.code,
            headers=dict(problem.headers),
        )
    if not path.startswith("/api/") and _wants_page(scope):
        return _page(scope, problem)
    body = {
        "type": "about:blank",
        "title": _title(problem.status),
        "status": problem.status,
        "code": problem.code,
        "detail": _told(scope, problem.detail),
        "fix": _told(scope, problem.fix),
        "params": dict(problem.params) if _is_admin(scope) else {},
        "remedies": offered(scope, problem.remedies),
        "request_id": _request_id(scope),
    }
    return JSONResponse(
        body,
        problem.status,
        {**problem.headers, "Cache-Control": "no-store"},
        media_type="application/problem+json",
    )


async def on_tunery_error(request: Request, error: Exception) -> Response:
    """Respond to a TuneryError."""
    assert isinstance(error, TuneryError)
    return answer(request.scope, from_error(error))


async def on_os_error(request: Request, error: Exception) -> Response:
    """Respond to a full or read-only disk in a sentence; any other system error is a bug."""
    assert isinstance(error, OSError)
    explained = disk_error(error)
    if explained is None:
        raise error
    return answer(request.scope, from_error(explained))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Respond to what the router rejects: no such route, no such method."""
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 404:
            problem = Problem(404, t("Nothing found at this address."), code="no_route")
        case 405:
            problem = Problem(405, t("This address does not support that method."), code="method")
        case status:
            problem = Problem(status, _title(status), code=f"http_{status}")
    return answer(request.scope, replace(problem, headers={**(error.headers or {})}))


async def on_invalid(request: Request, error: Exception) -> Response:
    """Respond to a body or query that does not fit the route, without echoing it."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    in_body = [{**e, "loc": e["loc"][1:]} for e in found if e["loc"][0] == "body"]
    outside = [{**e, "loc": e["loc"][1:]} for e in found if e["loc"][0] != "body"]
    if any(e["type"] == "json_invalid" for e in in_body):
        in_body = [{**in_body[0], "loc": ()}]
    listed = [
        *faults(in_body, _body_model(request), error.body),
        *faults(outside, None, {str(e["loc"][0]): e["input"] for e in outside}),
    ][:20]
    return answer(
        request.scope,
        Problem(
            422,
            listed[0].sentence,
            code="invalid_request",
            params={"errors": [{"place": e.place, "message": e.sentence} for e in listed]},
        ),
    )


def _body_model(request: Request) -> type[BaseModel] | None:
    """The model of the body that the route accepts."""
    handler = request.scope.get("endpoint")
    for annotation in typing.get_type_hints(handler).values() if handler else ():
        for model in nested_models(annotation):
            return model
    return None


def broken(scope: Scope) -> Response:
    """Respond to an unexpected exception."""
    return answer(
        scope,
        Problem(
            500,
            t("Internal error in Tunery."),
            fix=t("See web.log in TUNERY_HOME, entry {id}, for details.", id=_request_id(scope)),
            code="internal",
        ),
    )


_SENTENCES = {"error", "code", "message", "fix"}


def _title(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _told(scope: Scope, text: str) -> str:
    text = redact(text)
    return text if _is_admin(scope) else _PATHS.sub(r"\1", text)


def _is_admin(scope: Scope) -> bool:
    principal = scope.get("state", {}).get("principal")
    return principal is None or "admin" in principal.scopes


def offered(scope: Scope, remedies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The remedies that whoever asks may use: only a person may allow a folder, never a key."""
    principal = scope.get("state", {}).get("principal")
    is_person = principal is None or principal.is_person
    return [dict(remedy) for remedy in remedies if is_person or remedy.get("action") != ALLOW]


def _request_id(scope: Scope) -> str:
    return scope.get("state", {}).get("request_id", "")


def _wants_page(scope: Scope) -> bool:
    accepts = dict(scope.get("headers", ())).get(b"accept", b"")
    return scope.get("method") in ("GET", "HEAD") and b"text/html" in accepts


def _page(scope: Scope, problem: Problem) -> Response:
    draw = getattr(getattr(scope.get("app"), "state", None), "error_page", None)
    if draw is not None:  # the web server renders it like any other page
        return draw(scope, problem, _told(scope, problem.detail), _told(scope, problem.fix))
    lines = [f"<h1>{problem.status}</h1>", f"<p>{html.escape(_told(scope, problem.detail))}</p>"]
    if problem.fix:
        lines.append(f"<p>{html.escape(_told(scope, problem.fix))}</p>")
    home = html.escape(scope.get("root_path", "") + "/")
    lines.append(f'<p><a href="{home}">Tunery</a></p>')
    lang = "zh-CN" if language() == "zh" else "en"
    head = f'<!doctype html><html lang="{lang}"><meta charset="utf-8">'
    head += f"<title>{problem.status} · Tunery</title>"
    headers = {**problem.headers, "Cache-Control": "no-store"}
    return HTMLResponse(head + "\n".join(lines), problem.status, headers)
