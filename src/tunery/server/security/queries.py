"""Query parameters: one that a route of the API does not have, or that comes twice, is refused.

``?limit=10`` on a route without a limit, or a misspelled ``?modle=``, would otherwise be dropped
and the answer would look right. The pages read their own addresses and are not checked.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.server.faults import no_such_field
from tunery.server.security.wire import path_of

SENT_BY_CLIENTS = frozenset({"beta", "api-version"})
"""What the libraries of Anthropic and Azure add to every address of ``/v1``; without effect."""
_SHOWN = 80


def check(request: Request) -> None:
    """Refuse a query parameter that the route does not read; a dependency of the whole app.

    Raises:
        ConfigError: A parameter is unknown, with the nearest one, or occurs twice.
    """
    if not request.query_params:
        return
    path = path_of(request.scope)
    route = request.scope.get("route")
    if not path.startswith(("/api/", "/v1/")) or not isinstance(route, APIRoute):
        return
    known = set(_names(route.dependant))
    ignored = SENT_BY_CLIENTS if path.startswith("/v1/") else frozenset[str]()
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known and name not in ignored:
            raise ConfigError(no_such_field(name[:_SHOWN], name, known), code="bad_query")
        if name in seen:
            raise ConfigError(
                t("The address has {name} twice. Send it once.", name=name), code="bad_query"
            )
        seen.add(name)


def _names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        yield field.alias
    for inner in dependant.dependencies:
        yield from _names(inner)
