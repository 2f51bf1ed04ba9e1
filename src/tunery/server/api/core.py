"""Health, version, and browser sessions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from tunery import __version__
from tunery.i18n import t
from tunery.server import problems
from tunery.server.api.body import Body
from tunery.server.problems import Problem
from tunery.server.security import access, audit
from tunery.server.security.tokens import SESSION_SECONDS, TokenFile
from tunery.server.security.wire import client

router = APIRouter(tags=["core"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Say that the server lives; open to everybody."""
    return {"status": "ok"}


@router.get("/api/v1/health")
def health() -> dict[str, str]:
    """Say that the server lives, to somebody who may know more."""
    return {"status": "ok", "version": __version__}


@router.get("/api/v1/version")
def version() -> dict[str, str | None]:
    """Versions of Tunery and of what it stands on."""
    from tunery.services.machine import versions

    return versions()


@router.get("/api/v1/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """Describe the API for programs."""
    return request.app.openapi()


class Login(Body):
    """What the login page sends."""

    token: Annotated[str, Field(min_length=1, max_length=512)]


@router.get("/api/v1/session")
def session(request: Request) -> Response:
    """Say who is logged in: a page that another site linked to has its cookie only here."""
    principal = getattr(request.state, "principal", None)
    if principal is None:
        problem = Problem(401, t("You are not logged in."), code="unauthorized")
        return problems.answer(request.scope, problem)
    return JSONResponse({"who": principal.id, "scopes": sorted(principal.scopes)})


@router.post("/api/v1/session")
def log_in(request: Request, login: Login) -> Response:
    """Change the token for a session cookie."""
    failures: access.Failures = request.app.state.failures
    token: TokenFile = request.app.state.token
    address = client(request.scope)
    given = login.token.strip()
    if not token.matches(given):
        if problem := access.too_many(failures, address, given):
            return problems.answer(request.scope, problem)
        failures.add(address, given)
        audit.failed_login(request.scope, "token")
        problem = Problem(
            401,
            t("That is not the access token of this server."),
            fix=t("It is in the address that tunery web printed, after #token=."),
            code="wrong_token",
        )
        return problems.answer(request.scope, problem)
    response = JSONResponse({"who": "page"})
    response.set_cookie(
        token.cookie_name(), token.new_session(), max_age=SESSION_SECONDS, **_cookie(request)
    )
    return response


@router.delete("/api/v1/session")
def log_out(request: Request) -> Response:
    """Forget the session in this browser."""
    response = Response(status_code=204)
    response.delete_cookie(request.app.state.token.cookie_name(), **_cookie(request))
    return response


@router.post("/api/v1/token/renew")
def renew(request: Request) -> Response:
    """Make a new access token: every other session ends, this browser gets a new one."""
    token: TokenFile = request.app.state.token
    new = token.renew()
    response = JSONResponse({"token": new})
    response.set_cookie(
        token.cookie_name(), token.new_session(), max_age=SESSION_SECONDS, **_cookie(request)
    )
    return response


def _cookie(request: Request) -> dict[str, Any]:
    return {
        "path": request.scope.get("root_path") or "/",
        "httponly": True,
        "samesite": "strict",
        "secure": request.scope["scheme"] == "https",
    }
