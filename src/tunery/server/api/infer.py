"""REST to load and unload models for chat and serving, and to list the loaded ones."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from tunery.server.api.body import Body
from tunery.server.api.named import ModelName
from tunery.services import chat

router = APIRouter(prefix="/api/v1/infer", tags=["infer"])


class Named(Body):
    """A model, run, checkpoint or adapter folder, by name."""

    model: Annotated[ModelName, Field(min_length=1)]


@router.post("/load", status_code=202)
async def load(wish: Named) -> dict[str, Any]:
    """Begin to load; ``status`` and the topic ``engines`` say how far it is."""
    chat.engine_pool().begin(wish.model)
    return {"model": wish.model, "state": "loading"}


@router.post("/unload")
async def unload(wish: Named) -> dict[str, bool]:
    """End the engine of a model's base; answers being written end as interrupted."""
    return {"unloaded": await chat.engine_pool().unload(wish.model)}


@router.get("/status")
async def status() -> dict[str, Any]:
    """What every engine says of itself."""
    return {"engines": await chat.engine_pool().statuses()}
