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
    """A model that callers of /v1 may use, and the name that they write."""

    model: Annotated[ModelName, Field(min_length=1)]
    name: str = ""


@router.get("")
def served() -> list[dict[str, Any]]:
    """What callers of /v1 may use."""
    return [_served(one) for one in chat.served()]


@router.post("")
def serve(what: Serve) -> dict[str, Any]:
    """Switch a model on for /v1."""
    return _served(chat.serve(what.model, name=what.name))


@router.delete("/{name:path}")
def unserve(name: str) -> dict[str, Any]:
    """Switch it off; answers under way go on."""
    chat.unserve(name)
    return {"name": name}


def _served(one: chat.Served) -> dict[str, Any]:
    return {"name": one.name, "model": one.model, "since": one.since}
