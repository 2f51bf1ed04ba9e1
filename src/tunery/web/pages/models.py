"""Models: what is here and on its way, a box that says what a name stands for, and one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.server.api.named import ModelName
from tunery.services import models as model_service
from tunery.services.models import HubSource, Suggestion
from tunery.web.render import render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class ModelsView:
    """What models.html draws.

    Args:
        models: Every model here, as the REST API lists them.
        suggestions: What a beginner may take; empty once there is a model besides the demo one.
        sources: The hubs, the default first.
        downloads: Downloads that are not over.
        memory_bytes: Memory of the device that would train.
    """

    models: list[dict[str, Any]]
    suggestions: list[Suggestion]
    sources: list[HubSource]
    downloads: list[dict[str, Any]]
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ModelView:
    """What model.html draws at once; the rest is asked for, it takes a moment.

    Args:
        name: The model.
        entry: What the list says of it; None for a path.
        memory_bytes: Memory of the device that would train.
    """

    name: str
    entry: dict[str, Any] | None
    memory_bytes: int


@router.get("/models")
def models(request: Request) -> HTMLResponse:
    """Draw the list."""
    entries = model_service.overview()
    has_one = any(entry["here"] for entry in entries)
    view = ModelsView(
        models=entries,
        suggestions=[] if has_one else model_service.suggestions(),
        sources=model_service.sources(),
        downloads=[job.as_dict() for job in model_service.downloads()],
        memory_bytes=model_service.memory_bytes(),
    )
    return render(request, "models.html", view)


@router.get("/models/{name:path}")
def model(request: Request, name: ModelName) -> HTMLResponse:
    """Draw one model."""
    entry = next((each for each in model_service.overview() if each["name"] == name), None)
    return render(request, "model.html", ModelView(name, entry, model_service.memory_bytes()))
