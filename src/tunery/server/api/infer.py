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
    """The name of a model, run, checkpoint or adapter folder."""

    model: Annotated[ModelName, Field(min_length=1)]


@router.post("/load", status_code=202)
async def load(wish: Named) -> dict[str, Any]:
    """Start loading a model; ``status`` and the topic ``engines`` report the progress."""
    chat.engine_pool().begin(wish.model)
    return {"model": wish.model, "state": "loading"}


@router.post("/unload")
async def unload(wish: Named) -> dict[str, bool]:
    """Stop the engine of a model's base model; answers being generated end as interrupted."""
    return {"unloaded": await chat.engine_pool().unload(wish.model)}


@router.get("/status")
async def status() -> dict[str, Any]:
    """Get the status of every engine, and the names that failed to load."""
    return {"engines": await chat.engine_pool().statuses()}
