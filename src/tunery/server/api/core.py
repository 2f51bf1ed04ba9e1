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
    """Report that the server is running; needs no login."""
    return {"status": "ok"}


@router.get("/api/v1/health")
def health() -> dict[str, str]:
    """Report that the server is running, and its version; needs a login."""
    return {"status": "ok", "version": __version__}


@router.get("/api/v1/version")
def version() -> dict[str, str | None]:
    """Get the versions of Tunery and of the libraries it uses."""
    from tunery.services.machine import versions

    return versions()


@router.get("/api/v1/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """Get the OpenAPI description of this API."""
    return request.app.openapi()


class Login(Body):
    """The login page's request."""

    token: Annotated[str, Field(min_length=1, max_length=512)]


@router.get("/api/v1/session")
def session(request: Request) -> Response:
    """Get the logged-in user and its scopes; 401 if nobody is logged in.

    A page that was opened from a link on another site learns only here whether it is logged in:
    the browser leaves out the cookie when it loads the page itself.
    """
    principal = getattr(request.state, "principal", None)
    if principal is None:
        problem = Problem(401, t("You are not logged in."), code="unauthorized")
        return problems.answer(request.scope, problem)
    return JSONResponse({"who": principal.id, "scopes": sorted(principal.scopes)})


@router.post("/api/v1/session")
def log_in(request: Request, login: Login) -> Response:
    """Log in: exchange the access token for a session cookie.

    Refuses a wrong token, and an address with too many failed attempts.
    """
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
    """Log out: delete this browser's session cookie."""
    response = Response(status_code=204)
    response.delete_cookie(request.app.state.token.cookie_name(), **_cookie(request))
    return response


@router.post("/api/v1/token/renew")
def renew(request: Request) -> Response:
    """Create a new access token. All other sessions end; this browser gets a new one."""
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
