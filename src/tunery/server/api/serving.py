"""REST for the models that are served under ``/v1``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from tunery.server.api.body import Body
from tunery.server.api.named import ModelName
from tunery.services import chat

router = APIRouter(prefix="/api/v1/serving", tags=["serving"])


class Serve(Body):
    """A model to serve under /v1, and the name by which clients request it."""

    model: Annotated[ModelName, Field(min_length=1)]
    name: str = ""


@router.get("")
def served() -> list[dict[str, Any]]:
    """List the models served under /v1."""
    return [_served(one) for one in chat.served()]


@router.post("")
def serve(what: Serve) -> dict[str, Any]:
    """Serve a model under /v1."""
    return _served(chat.serve(what.model, name=what.name))


@router.delete("/{name:path}")
def unserve(name: str) -> dict[str, Any]:
    """Stop serving a model; answers being generated are completed."""
    chat.unserve(name)
    return {"name": name}


def _served(one: chat.Served) -> dict[str, Any]:
    return {"name": one.name, "model": one.model, "since": one.since}
