"""Which host names the server answers to, and from which origins a request may come.

``Hosts`` stops DNS rebinding: a Host that is neither loopback, nor the listening address, nor a
``--public-url`` gets 421. ``Origins`` stops other web pages: a write needs JSON, an Origin of this
server and, with a cookie, the header ``X-Tunery``. ``cors.py`` lists the origins that may use
``/v1`` with a key.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from tunery.i18n import t
from tunery.server.problems import Problem
from tunery.server.security.audit import SAFE_METHODS
from tunery.server.security.limits import raw_limit
from tunery.server.security.wire import bearer, header, path_of, refuse
from tunery.server.settings import LOOPBACK_NAMES, ServerSettings

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9_.\[\]:-]{1,200}")
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class Hosts:
    """Rejects host names that are not this server's.

    Args:
        app: The next ASGI application.
        settings: Settings of the server.
    """

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and (problem := self._problem(scope)):
            await refuse(scope, send, problem)
            return
        await self.app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) != 1 or not scope["path"].startswith("/"):
            return Problem(400, t("The request has no Host header, or several."), code="bad_host")
        names = {name for name, _ in scope["headers"]}
        if {b"content-length", b"transfer-encoding"} <= names:  # a proxy may read it differently
            return Problem(
                400,
                t("The request has two conflicting body lengths."),
                code="two_lengths",
                headers={"Connection": "close"},
            )
        host = given[0].decode("latin-1")
        found = _HOST.fullmatch(host)
        if found and self._is_ours(found[1].lower().strip("[]"), host.lower()):
            return None
        shown = host if found else "HOST"
        return Problem(
            421,
            t("This server does not accept the host name {host!r}.", host=shown[:200]),
            fix=t(
                "If this name is correct, start it with: --public-url http://{host}",
                host=shown[:200],
            ),
            code="wrong_host",
        )

    def _is_ours(self, name: str, whole: str) -> bool:
        if name in (*LOOPBACK_NAMES, self.settings.host.lower()):
            return True
        for address in self.settings.public_urls:
            parts = urlsplit(address)
            if whole == parts.netloc.lower() or (name == parts.hostname and not parts.port):
                return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        # A numeric address cannot be rebound by DNS; a public port has no name of its own.
        return not self.settings.is_loopback


class Origins:
    """Rejects requests from other web pages.

    Args:
        app: The next ASGI application.
        settings: Settings of the server.
    """

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and (problem := self._problem(scope)):
            await refuse(scope, send, problem)
            return
        await self.app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        method = scope["method"]
        if method not in _METHODS:
            return Problem(405, t("This address does not support that method."), code="method")
        origin, site = header(scope, b"origin"), header(scope, b"sec-fetch-site")
        if scope["state"].get("cors"):
            return None if method in SAFE_METHODS else self._wrong_type(scope)
        if origin is not None and not self._is_own(scope, origin):
            return _foreign(scope)
        if method in SAFE_METHODS:
            is_data = path_of(scope).startswith(("/api/", "/v1/"))
            return _foreign(scope) if is_data and site in ("cross-site", "same-site") else None
        if site is not None and site != "same-origin":
            return _foreign(scope)
        if bearer(scope) is None:
            if origin is None:
                return _foreign(scope)
            if header(scope, b"x-tunery") is None:
                return Problem(
                    403, t("Write requests from a page need the header X-Tunery: 1."), code="csrf"
                )
        return self._wrong_type(scope)

    def _wrong_type(self, scope: Scope) -> Problem | None:
        kind = (header(scope, b"content-type") or "").strip().lower()
        name, _, parameters = kind.partition(";")
        if raw_limit(scope["method"], path_of(scope)) is not None:
            right = kind == "application/octet-stream"
        elif kind:
            right = name.strip() == "application/json" and _is_utf8(parameters)
        else:
            has_body = header(scope, b"transfer-encoding") is not None
            right = not has_body and header(scope, b"content-length") in (None, "0")
        if right:
            return None
        if name.strip() == "application/json" and "charset" in parameters:
            said = t(
                "A JSON body must be UTF-8: send Content-Type: application/json; charset=utf-8."
            )
        elif raw_limit(scope["method"], path_of(scope)) is not None:
            said = t("Send the bytes of the file with Content-Type: application/octet-stream.")
        else:
            said = t("Send JSON with Content-Type: application/json.")
        return Problem(415, said, code="not_json", headers={"Accept": "application/json"})

    def _is_own(self, scope: Scope, origin: str) -> bool:
        parts = urlsplit(origin.lower())
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return False
        # The browser's name for this server is the Host, which ``Hosts`` has checked.
        if parts.netloc == (header(scope, b"host") or "").lower():
            return True
        own = (urlsplit(address.lower()) for address in self.settings.public_urls)
        return any((p.scheme, p.netloc) == (parts.scheme, parts.netloc) for p in own)


def _is_utf8(parameters: str) -> bool:
    name, _, value = parameters.strip().partition("=")
    return not name or (name.strip() == "charset" and value.strip(' "') in ("utf-8", "utf8"))


def _foreign(scope: Scope) -> Problem:
    said = t("This request comes from another web page.")
    if path_of(scope).startswith("/v1/"):
        origin = header(scope, b"origin") or ""
        shown = origin if _ORIGIN.fullmatch(origin) else "ORIGIN"
        fix = t(
            "To let that page use /v1 with a key, start the server with: --cors-origin {origin}",
            origin=shown,
        )
        return Problem(403, said, fix=fix, code="foreign_origin")
    return Problem(
        403,
        said,
        fix=t("Behind a proxy, start with: --public-url ADDRESS (what the browser shows)."),
        code="foreign_origin",
    )
