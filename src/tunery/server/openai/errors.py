"""Errors in OpenAI's format. Their messages are written for clients and contain no traceback."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from tunery.errors import EngineError, TuneryError, UnknownName
from tunery.server.statuses import STATUSES

# Nothing about this machine belongs in a response: paths, memory addresses, tracebacks.
_PRIVATE = re.compile(
    r"0x[0-9a-fA-F]{8,}|Traceback|[A-Za-z]:\\"
    r"|(?:^|[\s'\"(=:])(?:~|\.{1,2})?/(?!v1/|api/)[^\s/]+/"
)

_TYPES = {
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", "insufficient_scope"),
    404: ("invalid_request_error", "not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    413: ("invalid_request_error", "request_too_large"),
    415: ("invalid_request_error", "unsupported_media_type"),
    421: ("invalid_request_error", "unknown_host"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "internal_error"),
    503: ("server_error", "unavailable"),
}


class Refused(Exception):
    """A request that is answered with an error only.

    Args:
        status: HTTP status.
        message: A sentence for the client.
        param: The field it is about, such as ``messages[2].content``.
        code: Stable machine-readable name; by default that of the status.
        headers: Additional headers, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error object."""
        return body(self.status, self.message, param=self.param, code=self.code)

    def response(self) -> Response:
        """The complete response."""
        return JSONResponse(self.body(), self.status, self.headers)


def renamed(refused: Refused, names: Mapping[str, str]) -> Refused:
    """The same error, with the field names of an API that names chat fields differently."""
    param, message = refused.param or "", refused.message
    for ours, theirs in names.items():
        if param == ours or param.startswith((f"{ours}[", f"{ours}.")):
            if message.startswith(param):  # indices in the message are not those of the request
                message = theirs + message.removeprefix(param)
            return Refused(
                refused.status, message, param=theirs, code=refused.code, headers=refused.headers
            )
    return refused


def invalid(param: str | None, message: str, *, code: str = "invalid_value") -> Refused:
    """A field has a value that is not accepted."""
    return Refused(400, message, param=param, code=code)


def body(
    status: int, message: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The error object of a status."""
    kind, usual = _TYPES.get(status, ("invalid_request_error", "invalid_request"))
    return {"error": {"message": message, "type": kind, "param": param, "code": code or usual}}


def answer(
    status: int,
    message: str,
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response for an error raised outside these routes: by middleware or by the router."""
    return Refused(status, public(message), code=code, headers=headers).response()


def public(message: str, instead: str = "The request cannot be answered.") -> str:
    """The message, or ``instead`` if it contains something about this machine."""
    return instead if not message or _PRIVATE.search(message) else message


def of_tunery(error: TuneryError) -> Refused:
    """Convert one of our own errors for the client of the API."""
    if isinstance(error, UnknownName):
        message = public(str(error), "There is no such model here. See /v1/models.")
        return Refused(404, message, param="model", code="model_not_found")
    if not isinstance(error, EngineError):
        status = STATUSES.get(error.code, 503)
        return Refused(status, public(str(error), "The model cannot be used now."))
    match error.code:
        case "too_long":
            return invalid("messages", _too_long(error), code="context_length_exceeded")
        case "queue_full":
            seconds = error.fields.get("retry_after_seconds")
            wait = str(max(1, round(seconds))) if isinstance(seconds, int | float) else "1"
            return Refused(
                429, "The server is at capacity. Try again soon.", headers={"Retry-After": wait}
            )
        case "bad_schema":
            message = public(str(error), "The JSON schema cannot be used.")
            return invalid("response_format", message, code="bad_schema")
        case "bad_template":
            message = public(str(error), "This model's chat template rejects these messages.")
            return invalid("messages", message, code="bad_template")
        case "bad_request":
            return invalid(None, public(str(error)))
        case "bad_adapter":
            return Refused(503, "This model's adapter cannot be used now.", code="bad_adapter")
        case _:
            message = "The model's process has ended. Try again soon."
            return Refused(503, message, code="engine_gone", headers={"Retry-After": "2"})


def _too_long(error: EngineError) -> str:
    tokens, room = (error.fields.get(key) for key in ("num_prompt_tokens", "context_length"))
    if isinstance(tokens, int) and isinstance(room, int):
        return (
            f"The prompt has {tokens} tokens; this model's context holds {room} tokens of prompt "
            "and answer together. Shorten the prompt."
        )
    return public(
        str(error), "The prompt is too long: it leaves no room for an answer in this context."
    )
