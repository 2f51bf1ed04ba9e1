"""Who may do what: every path needs a session, a token or a key, except those in ``OPEN``."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import quote

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tunery import i18n
from tunery.errors import TuneryError
from tunery.i18n import t
from tunery.server.problems import Problem
from tunery.server.security import audit, tokens
from tunery.server.security.tokens import Principal, TokenFile
from tunery.server.security.wire import bearer, client, cookies, header, path_of, refuse
from tunery.server.settings import ServerSettings
from tunery.services import settings

OPEN = frozenset({"/healthz", "/health", "/login"})
SESSION_PATH = "/api/v1/session"
"""Checks the login itself; its POST accepts the token."""

ALL = frozenset(tokens.SCOPES)
PLACES = 4096


class Forbidden(TuneryError):
    """The key is valid, but not allowed to do this."""


def needs(scope_name: str) -> Callable[[Request], None]:
    """Allow keys with this scope to use a route: ``dependencies=[Depends(needs("jobs"))]``.

    A route without it requires ``admin``.
    """

    def check(request: Request) -> None:
        """Do nothing; ``Access`` has read the mark below."""

    check.__dict__["scope"] = scope_name
    return check


def person_only(request: Request) -> None:
    """Reject keys: a route with this requires the access token or a session.

    Raises:
        Forbidden: The request uses a key, whatever its scope.
    """
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is not None and not principal.is_person:
        raise Forbidden(
            t("API keys are not allowed to do this."),
            fix=t("Open the page, or use the access token."),
            code="forbidden",
        )


class Failures:
    """Counts the wrong tokens of the last minute, by address and by the token given.

    The right token is never blocked by wrong ones: behind a tunnel or proxy, everybody has the
    same address. It has 256 bits, so guessing is hopeless at any rate; the limit keeps the log
    short and makes a program with a wrong key stop.

    Args:
        most: How often an address may send the same wrong token; ten times as many in total.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._times: OrderedDict[tuple[str, str], list[float]] = OrderedDict()

    def blocked_seconds(self, address: str, given: str) -> float:
        """How long the address must wait with this token; 0 if it may try."""
        return max(
            self._wait((address, _fingerprint(given)), self.most),
            self._wait((address, ""), self.most * 10),
        )

    def add(self, address: str, given: str) -> None:
        """Count one failure."""
        for place in ((address, _fingerprint(given)), (address, "")):
            self._times[place] = [*self._recent(place), time.monotonic()]
            self._times.move_to_end(place)
        while len(self._times) > PLACES:
            self._times.popitem(last=False)

    def _wait(self, place: tuple[str, str], most: int) -> float:
        times = self._recent(place)
        return 60 - (time.monotonic() - times[-most]) if len(times) >= most else 0.0

    def _recent(self, place: tuple[str, str]) -> list[float]:
        now = time.monotonic()
        return [when for when in self._times.get(place, ()) if now - when < 60]


class Access:
    """Authentication: identifies the client, and rejects those without access.

    Args:
        app: The next ASGI application.
        settings: Settings of the server.
        token: The access token.
        failures: Wrong tokens by address, shared with the login route.
    """

    def __init__(
        self, app: ASGIApp, *, settings: ServerSettings, token: TokenFile, failures: Failures
    ) -> None:
        self.app = app
        self.settings = settings
        self.token = token
        self.failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = path_of(scope)
        if path in OPEN or path.startswith("/static/"):
            await self.app(scope, receive, send)
            return
        principal = await self._who(scope)
        if isinstance(principal, Problem):
            await refuse(scope, send, principal)
        elif principal is not None:
            scope["state"]["principal"] = principal
            with i18n.worded(settings.for_the_page if principal.id == "page" else None):
                await self.app(scope, receive, send)
        elif path == SESSION_PATH:
            await self.app(scope, receive, send)
        elif _is_page(scope, path):
            query = scope["query_string"].decode("latin-1")
            target = quote(path + (f"?{query}" if query else ""), safe="/")
            root = scope.get("root_path", "")
            response = RedirectResponse(f"{root}/login?next={target}", 303)
            await response(scope, receive, send)
        else:
            await refuse(scope, send, _unauthorized())

    async def _who(self, scope: Scope) -> Principal | Problem | None:
        key, address = bearer(scope), client(scope)
        if key is None:
            return self._by_cookie(scope, address)
        # state.db may be locked for a moment: never access it in the event loop
        principal = await run_in_threadpool(self._by_key, key)
        if principal is None:
            if problem := too_many(self.failures, address, key):
                return problem
            self.failures.add(address, key)
            audit.failed_login(scope, "bearer")
            return _unknown_key()
        return _expired() if principal.has_expired else principal

    def _by_cookie(self, scope: Scope, address: str) -> Principal | None:
        if scope["state"].get("cors"):
            return None  # a page of another origin needs a key; the user's session does not count
        cookie = cookies(scope).get(self.token.cookie_name())
        if cookie is None:
            return None
        alive = self.token.session(cookie)
        # None is not an expired session: somebody is guessing
        if alive is None and not self.failures.blocked_seconds(address, cookie):
            self.failures.add(address, cookie)
            audit.failed_login(scope, "cookie")
        return Principal("page", ALL) if alive else None

    def _by_key(self, key: str) -> Principal | None:
        if self.token.matches(key):
            return Principal("token", ALL)
        for given in self.settings.api_keys:
            if tokens.same(key, given):
                return Principal("serve", frozenset({"chat"}))
        return tokens.find_key(key)


def too_many(failures: Failures, address: str, given: str) -> Problem | None:
    """The response for an address that sent too many wrong tokens, and now another."""
    seconds = failures.blocked_seconds(address, given)
    if not seconds:
        return None
    return Problem(
        429,
        t("Too many wrong tokens from {address}.", address=address),
        fix=t("Wait {seconds} seconds and try again.", seconds=round(seconds) + 1),
        code="too_many_failures",
        headers={"Retry-After": str(round(seconds) + 1)},
    )


def authorize(request: Request) -> None:
    """Check a route's scope; a dependency of the whole app, so that no route can omit it."""
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None or "admin" in principal.scopes:
        return  # already allowed: an open path, or a client with full access
    wanted = _wanted(request)
    if wanted not in principal.scopes:
        raise Forbidden(
            t("This key lacks the scope {scope!r}.", scope=wanted),
            fix=t("Create a key with that scope in Settings."),
            code="forbidden",
            scope=wanted,
        )


def _wanted(request: Request) -> str:
    if path_of(request.scope).startswith("/v1/") or path_of(request.scope) == "/metrics":
        return "chat"
    route = request.scope.get("route")
    for dependency in reversed(getattr(route, "dependencies", ())):  # the route's own is last
        scope = getattr(dependency.dependency, "__dict__", {}).get("scope")
        if scope:
            return scope
    return "admin"


def _fingerprint(given: str) -> str:
    return hashlib.sha256(given.encode()).hexdigest()


def _is_page(scope: Scope, path: str) -> bool:
    api = path.startswith(("/api/", "/v1/")) or path == "/metrics"
    accepts = header(scope, b"accept") or "*/*"
    return scope["method"] in ("GET", "HEAD") and not api and "text/html" in accepts


def _expired() -> Problem:
    return _denied(
        t("This key has expired."), fix=t("Create a new one in Settings."), code="expired_key"
    )


def _unknown_key() -> Problem:
    return _denied(
        t("This API key is not valid."),
        fix=t("Use the key that Tunery printed when it started."),
        code="unauthorized",
    )


def _unauthorized() -> Problem:
    return _denied(
        t("This needs the access token, a session or a key."),
        fix=t(
            "Open the address that tunery web printed, or send the printed key: "
            "Authorization: Bearer KEY."
        ),
        code="unauthorized",
    )


def _denied(detail: str, *, fix: str, code: str) -> Problem:
    challenge = {"WWW-Authenticate": 'Bearer realm="tunery"'}
    return Problem(401, detail, fix=fix, code=code, headers=challenge)
