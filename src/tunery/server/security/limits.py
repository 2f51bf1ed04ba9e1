"""Limits of a request: its headers, its body while it arrives, JSON nesting, readable text.

A JSON body is read here, up to its limit, before a route sees the request. Routes that accept raw
bytes (uploads) are declared in ``RAW_ROUTES`` and receive their body as a stream, counted.
Timeouts and connections are in ``server.security.protocol``.
"""

from __future__ import annotations

import re

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunery.env import human_bytes
from tunery.i18n import t
from tunery.server.problems import Problem
from tunery.server.security.readable import why_unreadable
from tunery.server.security.wire import header, path_of, refuse
from tunery.server.settings import Limits

UPLOAD_BYTES = 64 * 2**30

RAW_ROUTES: list[tuple[str, re.Pattern[str], int]] = [
    ("PUT", re.compile(r"/api/v1/datasets/uploads/[a-z0-9._-]{1,64}"), UPLOAD_BYTES),
]
"""Routes that accept application/octet-stream: method, whole path after the prefix, max bytes."""

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
BIG_BYTES = 64 * 1024


class TooLarge(Exception):
    """A body exceeded its limit while it was being read."""


def raw_limit(method: str, path: str) -> int | None:
    """Maximum size of a raw body for a path; None if only JSON is accepted."""
    for wanted, pattern, most in RAW_ROUTES:
        if method == wanted and pattern.fullmatch(path):
            return most
    return None


class Sizes:
    """Rejects what is too large or nested too deeply.

    Args:
        app: The next ASGI application.
        limits: Limits of the server.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        raw = raw_limit(scope["method"], path_of(scope))
        most = self.limits.body_bytes if raw is None else raw
        if problem := self._heads(scope, most):
            await refuse(scope, send, problem)
        elif raw is not None:
            await self._stream(scope, receive, send, most)
        else:
            await self._whole(scope, receive, send, most)

    def _heads(self, scope: Scope, most: int) -> Problem | None:
        size = len(scope.get("raw_path", b"")) + len(scope["query_string"])
        if size + sum(len(k) + len(v) + 4 for k, v in scope["headers"]) > self.limits.header_bytes:
            return Problem(
                431,
                t("The headers are larger than {limit}.", limit=_size(self.limits.header_bytes)),
                code="headers_too_large",
            )
        if header(scope, b"content-encoding") not in (None, "identity"):
            return Problem(415, t("Send the body uncompressed."), code="encoded")
        length = header(scope, b"content-length")
        if length is not None and (not length.isdecimal() or int(length) > most):
            return _too_large(most)
        return None

    async def _stream(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        seen, started = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise TooLarge
            return message

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, noting)
        except TooLarge:
            if not started:
                await refuse(scope, send, _too_large(most))

    async def _whole(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        if header(scope, b"content-length") in (None, "0") and (
            header(scope, b"transfer-encoding") is None
        ):
            await self.app(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > most:
                await refuse(scope, send, _too_large(most))
                return
        whole = bytes(body)
        problem = (
            await run_in_threadpool(_why_refused, whole, self.limits.json_depth)
            if len(whole) > BIG_BYTES
            else _why_refused(whole, self.limits.json_depth)
        )
        if problem is not None:
            await refuse(scope, send, problem)
            return
        await self.app(scope, _replay(whole, receive), send)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()  # the disconnect
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _why_refused(body: bytes, depth: int) -> Problem | None:
    if _depth_over(body, depth):
        said = t("The JSON is nested more than {limit} levels deep.", limit=depth)
        return Problem(400, said, code="too_deep")
    if why := why_unreadable(body):
        return Problem(400, why, code="invalid_json")
    return None


def _depth_over(body: bytes, most: int) -> bool:
    depth = 0
    for found in _TOKENS.finditer(body):
        match found[0]:
            case b"[" | b"{":
                depth += 1
                if depth > most:
                    return True
            case b"]" | b"}":
                depth -= 1
            case _:
                continue
    return False


def _too_large(most: int) -> Problem:
    return Problem(
        413,
        t("The body is larger than {limit}.", limit=_size(most)),
        code="too_large",
        headers={"Connection": "close"},
    )


def _size(count: int) -> str:
    return human_bytes(count)
