"""The server as an ASGI application: the security controls in order, the routers, the errors.

A request passes ``Context`` (number, language, prefix), ``Audit``, ``Hosts``, ``Cors``,
``Access``, ``Origins`` and ``Sizes``, then its route. Each is a small ASGI class; none of them
is a ``BaseHTTPMiddleware``, which would buffer streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from tunery import __version__
from tunery.errors import TuneryError
from tunery.server import problems
from tunery.server.api import core
from tunery.server.live import Reader
from tunery.server.routes import API_ROUTERS
from tunery.server.security import access, queries
from tunery.server.security.access import Access, Failures
from tunery.server.security.audit import Audit
from tunery.server.security.context import SECURITY_HEADERS, Context
from tunery.server.security.cors import Cors
from tunery.server.security.limits import Sizes
from tunery.server.security.origin import Hosts, Origins
from tunery.server.security.protocol import Connections
from tunery.server.security.tokens import TokenFile
from tunery.server.settings import ServerSettings

_log = logging.getLogger("tunery.server")


def create_app(
    settings: ServerSettings | None = None,
    *,
    routers: Sequence[APIRouter] = (),
    api: Sequence[APIRouter] | None = None,
) -> FastAPI:
    """Make a server.

    Args:
        settings: Settings of the server; by default it listens on loopback.
        routers: Additional routers, such as the pages.
        api: The API's routers; by default all of ``server.routes.API_ROUTERS``.

    Returns:
        The application. ``app.state`` holds ``settings``, ``token`` (a ``TokenFile``),
        ``failures``, ``connections``, ``reader`` (of the live channel), and ``ending``, an event
        that is set when the server should stop, on which streams end.
    """
    settings = settings or ServerSettings()
    token = TokenFile(settings.token_file)
    failures = Failures(settings.limits.failures)
    app = _App(
        title="Tunery",
        version=__version__,
        docs_url=None,  # FastAPI's pages load scripts from a CDN
        redoc_url=None,
        openapi_url=None,  # served by server.api.core, which requires a login
        lifespan=_lifespan,
        dependencies=[Depends(access.authorize), Depends(queries.check)],
        redirect_slashes=False,
        middleware=[
            Middleware(Context, settings=settings),
            Middleware(Audit),
            Middleware(Hosts, settings=settings),
            Middleware(Cors, settings=settings),
            Middleware(Access, settings=settings, token=token, failures=failures),
            Middleware(Origins, settings=settings),
            Middleware(Sizes, limits=settings.limits),
        ],
    )
    app.state.settings = settings
    app.state.token = token
    app.state.failures = failures
    app.state.connections = Connections(settings.limits)
    app.state.ending = asyncio.Event()
    app.state.reader = Reader()
    app.add_exception_handler(TuneryError, problems.on_tunery_error)
    app.add_exception_handler(OSError, problems.on_os_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_exception_handler(Exception, _on_exception)
    for router in (core.router, *(API_ROUTERS if api is None else api), *routers):
        app.include_router(router)
    return app


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Title each operation by the first sentence of its docstring, not its function's name."""
        if not self.openapi_schema:
            for path in super().openapi()["paths"].values():
                for operation in path.values():
                    if text := operation.get("description", ""):
                        operation["summary"] = _first_sentence(text)
        return super().openapi()


def _first_sentence(text: str) -> str:
    first = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z)`}])[.;:] ", first, maxsplit=1)[0].rstrip(".")


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    app.state.token.token()
    asyncio.get_running_loop().set_exception_handler(app.state.connections.quiet)
    yield
    app.state.ending.set()


async def _on_exception(request: Request, error: Exception) -> Response:
    # Starlette re-raises it after this response, so that the server's log has the traceback.
    _log.error("request %s failed: %s", request.scope["state"].get("request_id"), type(error))
    response = problems.broken(request.scope)
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name.decode(), value.decode())
    return response


__all__ = ["ServerSettings", "create_app"]
