"""The first step of a request: its number, its language, its prefix, its real address.

What a proxy forwards (X-Forwarded-For, -Proto, -Host, -Prefix) is trusted only from loopback and
only if a proxy was announced with ``--root-path`` or ``--public-url``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunery import i18n
from tunery.server.security.wire import cookies, header, path_of, with_headers
from tunery.server.settings import ServerSettings

LANGUAGE_COOKIE = "tunery_lang"
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class Context:
    """Adds to each request what later steps need, and the security headers to its response.

    Args:
        app: The next ASGI application.
        settings: Settings of the server.
    """

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # there are no websockets here
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})
        scope["state"]["request_id"] = secrets.token_hex(6)
        if self.settings.behind_proxy and _is_loopback(scope):
            _believe(scope)
        self._set_prefix(scope)

        secured = with_headers(send, lambda message: _headers(scope, message))
        with i18n.speaking(_language(scope)):
            await self.app(scope, receive, secured)

    def _set_prefix(self, scope: Scope) -> None:
        # A proxy may strip the prefix (nginx with a trailing slash, Jupyter) or keep it.
        root = self.settings.root_path or scope["state"].get("forwarded_prefix", "")
        if root and scope["path"] != root and not scope["path"].startswith(f"{root}/"):
            scope["path"] = root + scope["path"]
            scope["raw_path"] = root.encode() + scope.get("raw_path", scope["path"].encode())
        scope["root_path"] = root


def _headers(scope: Scope, message: Message) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in message.get("headers", ())}
    wanted = {
        **SECURITY_HEADERS,
        b"x-request-id": scope["state"]["request_id"].encode(),
    }
    return [(name, value) for name, value in wanted.items() if name not in given]


SECURITY_HEADERS = {
    b"content-security-policy": (
        b"default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        b"connect-src 'self'; worker-src 'self'; form-action 'self'; object-src 'none'; "
        b"base-uri 'none'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=(), payment=()",
}
"""Sent with every response, unless a route overrides them."""


def _language(scope: Scope) -> str:
    if path_of(scope).startswith("/v1/"):
        return "en"  # the APIs of OpenAI and Anthropic speak English
    chosen = cookies(scope).get(LANGUAGE_COOKIE)
    if chosen in i18n.LANGUAGES:
        return chosen
    wanted: list[tuple[float, str]] = []
    for part in (header(scope, b"accept-language") or "")[:500].split(","):
        name, _, quality = part.strip().partition(";q=")
        language = name.strip().lower().split("-")[0]
        if language in i18n.LANGUAGES:
            try:
                wanted.append((float(quality or 1), language))
            except ValueError:
                continue
    return max(wanted, key=lambda pair: pair[0])[1] if wanted else "en"


def _is_loopback(scope: Scope) -> bool:
    try:
        return ipaddress.ip_address((scope.get("client") or ("",))[0]).is_loopback
    except ValueError:
        return False


def _believe(scope: Scope) -> None:
    if forwarded := header(scope, b"x-forwarded-for"):
        address = forwarded.rpartition(",")[2].strip()  # the last one was added by our own proxy
        with contextlib.suppress(ValueError):
            scope["client"] = (str(ipaddress.ip_address(address)), 0)
    scheme = (header(scope, b"x-forwarded-proto") or "").rpartition(",")[2].strip().lower()
    if scheme in ("http", "https"):
        scope["scheme"] = scheme
    prefix = (header(scope, b"x-forwarded-prefix") or "").rstrip("/")
    if prefix and _PREFIX.fullmatch(prefix):
        scope["state"]["forwarded_prefix"] = prefix
