"""Every route of an application, for tests that must not forget one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

OPEN = {"/healthz", "/health", "/login", "/static/version", "/static/{version}/{name:path}"}
SESSION = "/api/v1/session"


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of each."""
    found = []
    for route in iter_route_contexts(app.routes):
        found += [(method, str(route.path)) for method in sorted(route.methods or ())]
    assert len(found) > 10
    return found


def closed(app: FastAPI) -> list[tuple[str, str]]:
    """Those that need a login."""
    return [(m, p) for m, p in routes(app) if p not in OPEN and p != SESSION]


def filled(path: str, value: str = "x") -> str:
    """A path with every parameter given."""
    return re.sub(r"\{[^}]*\}", lambda _: value, path)


def parameters(app: FastAPI) -> Iterator[tuple[str, str]]:
    """The routes that take a part of their path from the client."""
    yield from ((m, p) for m, p in routes(app) if "{" in p and p not in OPEN)
