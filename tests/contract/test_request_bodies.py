"""Every object in a request body of /api/v1 and /v1 has a model that refuses unknown fields."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel

from tunery.server.api.body import Body
from tunery.server.faults import field_names, nested_models
from tunery.server.settings import ServerSettings

FREE_FORM = {
    ("/api/v1/chats", "settings"),  # each name is checked by ChatSettings.changed
    ("/api/v1/chats/check", "settings"),
    ("/api/v1/chats/once", "settings"),
    ("/api/v1/chats/{chat}", "settings"),
    ("/api/v1/datasets", "data"),  # the section data of a settings file, checked by the config
    ("/api/v1/datasets/bring", "data"),
    ("/api/v1/datasets/propose", "data"),
    ("/api/v1/datasets/{name}/fill", "variables"),  # placeholders of the dataset
    ("/api/v1/datasets/{name}/rows", "changes.values"),  # a row
    ("/api/v1/drafts/{name}", "fields"),  # settings by path; an unknown one is in the answer
    ("/api/v1/prefs/{key}", "value"),
    ("/api/v1/runs", "config"),  # a settings file
}
"""Places where any key is data, or is checked by what reads it."""


@pytest.fixture
def bodies(home) -> dict[str, list[Any]]:
    """The annotation of the body of each route under /api/v1 that has one."""
    from tunery.web.app import create

    found: dict[str, list[Any]] = {}
    for context in iter_route_contexts(create(ServerSettings()).routes):
        route = context.original_route
        if isinstance(route, APIRoute) and str(context.path).startswith("/api/v1"):
            hints = typing.get_type_hints(route.endpoint)
            for parameter in route.dependant.body_params:
                found.setdefault(str(context.path), []).append(hints[parameter.name])
    assert len(found) > 35
    return found


def objects(annotation: Any, at: str) -> typing.Iterator[tuple[str, Any]]:
    """Every model and every free-form object in an annotation, by place."""
    models = list(nested_models(annotation))
    for model in models:
        yield at, model
        for name, inner in field_names(model).items():
            yield from objects(inner, f"{at}.{name}" if at else name)
    if not models and any(word in repr(annotation) for word in ("dict", "typing.Any", "Mapping")):
        yield at, dict


def test_no_body_of_the_rest_api_drops_a_field(bodies):
    open_places = set()
    for path, accepted in bodies.items():
        for annotation in accepted:
            for at, kind in objects(annotation, ""):
                if kind is dict:
                    open_places.add((path, at))
                else:
                    assert issubclass(kind, Body), (path, at, kind)
                    assert kind.model_config.get("extra") == "forbid", (path, at, kind)
    assert open_places == FREE_FORM


def test_a_model_that_ignores_fields_would_be_found():
    class Inner(BaseModel):
        values: dict[str, Any]

    class Outer(BaseModel):
        inner: list[Inner] | None = None

    assert list(objects(Outer, "")) == [("", Outer), ("inner", Inner), ("inner.values", dict)]
