"""Errors in Anthropic's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from tunery.server.openai.errors import Refused, public

PATHS = ("/v1/messages",)
"""Paths whose errors have this format, wherever they are raised."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}


def is_ours(path: str) -> bool:
    """Whether a path belongs to this API."""
    return any(path == ours or path.startswith(f"{ours}/") for ours in PATHS)


def body(refused: Refused) -> dict[str, Any]:
    """The error object."""
    kind = _TYPES.get(refused.status, "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": refused.message}}


def response(refused: Refused) -> Response:
    """The complete response."""
    return JSONResponse(body(refused), refused.status, refused.headers)


def answer(status: int, message: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """The response for an error raised outside these routes: by middleware or by the router."""
    return response(Refused(status, public(message), headers=headers))
