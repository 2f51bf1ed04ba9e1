"""The audit log: who changed what, and failed logins. ``TUNERY_HOME/audit.jsonl``.

One line per request that may change something, appended in one write and never rewritten. Requests
to ``/v1`` change nothing and are counted elsewhere.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunery import env
from tunery.redaction import redact
from tunery.server.security.wire import client, path_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_log = logging.getLogger("tunery.server")


class Audit:
    """Writes one line for each answered request that may have changed something.

    Args:
        app: The next ASGI application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        changes = scope["type"] == "http" and scope["method"] not in SAFE_METHODS
        if not changes or path_of(scope).startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            note(scope, "request", status=status)


def failed_login(scope: Scope, how: str) -> None:
    """Log a wrong token, cookie or key."""
    note(scope, "failed_login", how=how)


def note(scope: Scope, what: str, **facts: Any) -> None:
    """Append one line about a request."""
    state = scope.get("state", {})
    principal = state.get("principal")
    line = {
        "time": round(time.time(), 3),
        "what": what,
        "who": principal.id if principal else None,
        "address": client(scope),
        "method": scope["method"],
        "path": redact(path_of(scope))[:500],
        "request_id": state.get("request_id"),
        **facts,
    }
    text = json.dumps(line, ensure_ascii=False) + "\n"
    path = env.home() / "audit.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text.encode("utf-8", "backslashreplace"))
        finally:
            os.close(descriptor)
    except OSError as error:  # a full disk must not break the page that reports it
        _log.warning("audit.jsonl cannot be written: %s", error.strerror)
