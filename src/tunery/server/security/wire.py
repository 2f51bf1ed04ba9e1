"""Shared by the controls: reading headers of a scope, and responding before any route."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.requests import cookie_parser
from starlette.types import Message, Scope, Send

from tunery.server import problems
from tunery.server.problems import Problem


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a header; repeated headers are joined with commas; None if it is missing."""
    values = [value for key, value in scope["headers"] if key == name]
    return b", ".join(values).decode("latin-1") if values else None


def path_of(scope: Scope) -> str:
    """The path after a proxy's prefix."""
    root, path = scope.get("root_path", ""), scope["path"]
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def cookies(scope: Scope) -> dict[str, str]:
    """The cookies of a request."""
    given = header(scope, b"cookie")
    return cookie_parser(given.replace(", tunery_", "; tunery_")) if given else {}


def bearer(scope: Scope) -> str | None:
    """The key in the Authorization header, or under /v1 in Anthropic's x-api-key; else None."""
    scheme, _, key = (header(scope, b"authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    if path_of(scope).startswith("/v1/"):
        return (header(scope, b"x-api-key") or "").strip() or None
    return None


def client(scope: Scope) -> str:
    """The address that the request came from."""
    return scope["client"][0] if scope.get("client") else "unknown"


def with_headers(send: Send, extra: Callable[[Message], Iterable[tuple[bytes, bytes]]]) -> Send:
    """Make a ``send`` that adds headers to the start of a response.

    Args:
        send: Sends the response.
        extra: Receives the message that starts the response; returns the headers to add.
    """

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *extra(message)]
        await send(message)

    return sent


async def refuse(scope: Scope, send: Send, problem: Problem) -> None:
    """Respond with a problem; the rest of the request's body is not read."""
    await problems.answer(scope, problem)(scope, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
