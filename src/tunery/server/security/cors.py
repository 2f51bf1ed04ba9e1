"""Which web pages of other origins may use ``/v1``: those listed in ``--cors-origin``.

Off unless an origin is listed. Such a page must send a key: cookies are ignored, and the rest of
the server stays closed to it. A preflight request carries no key and is answered here.
"""

from __future__ import annotations

import re

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tunery.server.security.wire import header, path_of, with_headers
from tunery.server.settings import ServerSettings

EVERYBODY = "*"
MAX_AGE_SECONDS = 600
EXPOSED = "retry-after, x-request-id, request-id"
_NAMES = re.compile(r"[A-Za-z0-9_-]{1,64}(?:\s*,\s*[A-Za-z0-9_-]{1,64}){0,63}")


class Cors:
    """Answers preflight requests, and lets the listed origins read responses of ``/v1``.

    Args:
        app: The next ASGI application.
        settings: Settings of the server.
    """

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self.app = app
        self.origins = frozenset(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        origin = self._allowed(scope)
        if origin is None:
            await self.app(scope, receive, send)
            return
        told = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
        told.append((b"access-control-expose-headers", EXPOSED.encode()))
        told.append((b"cross-origin-resource-policy", b"cross-origin"))
        shared = with_headers(send, lambda _: told)
        if scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method"):
            await Response(status_code=204, headers=_preflight(scope))(scope, receive, shared)
            return
        scope["state"]["cors"] = True
        await self.app(scope, receive, shared)

    def _allowed(self, scope: Scope) -> str | None:
        if scope["type"] != "http" or not self.origins or not path_of(scope).startswith("/v1/"):
            return None
        origin = header(scope, b"origin")
        if origin is None:
            return None
        if EVERYBODY in self.origins:
            return EVERYBODY
        return origin if origin.lower() in self.origins else None


def _preflight(scope: Scope) -> dict[str, str]:
    asked = header(scope, b"access-control-request-headers") or ""
    told = {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": asked if _NAMES.fullmatch(asked) else "authorization",
        "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
    }
    if header(scope, b"access-control-request-private-network") == "true":
        told["Access-Control-Allow-Private-Network"] = "true"
    return told
