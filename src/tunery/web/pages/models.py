"""Models: those on this machine, downloads, a box that resolves a name, and one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.server.api.named import ModelName
from tunery.services import models as model_service
from tunery.services import settings as settings_service
from tunery.services.models import HubSource, Suggestion
from tunery.web.render import render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class ModelsView:
    """The view of models.html.

    Args:
        models: Every model here, as listed by the REST API.
        suggestions: Models for beginners; empty once there is a model other than the demo one.
        sources: The hubs, the default first.
        downloads: Downloads that are not finished.
        memory_bytes: Memory of the device that would train.
    """

    models: list[dict[str, Any]]
    suggestions: list[Suggestion]
    sources: list[HubSource]
    downloads: list[dict[str, Any]]
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ModelView:
    """The initial view of model.html; the slow rest is requested by the page.

    Args:
        name: The model.
        entry: Its list entry; None for a path.
        memory_bytes: Memory of the device that would train.
        adapters: The display name of each adapter, by its type.
    """

    name: str
    entry: dict[str, Any] | None
    memory_bytes: int
    adapters: dict[str, str]


@router.get("/models")
def models(request: Request) -> HTMLResponse:
    """Render the list."""
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
    """Render one model."""
    entry = next((each for each in model_service.overview() if each["name"] == name), None)
    adapters = settings_service.choices("adapter.type")
    view = ModelView(name, entry, model_service.memory_bytes(), adapters)
    return render(request, "model.html", view)
