"""Datasets: the list and the ways to add one, how columns are read, and one dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.data.dataset import SUFFIXES
from tunery.services import datasets as dataset_service
from tunery.web.render import render

TABS = ("see", "rows", "checks")
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class DatasetsView:
    """The view of datasets.html.

    Args:
        rows: Every named dataset, as listed by the REST API.
        accept: File suffixes, for the browser's file picker.
        limit_bytes: Maximum size of an upload.
    """

    rows: list[dict[str, Any]]
    accept: str
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class AddView:
    """The view of dataset_add.html.

    Args:
        source: The source whose columns are shown.
        encodings: Encodings of text files, each with its label.
    """

    source: str
    encodings: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class DatasetView:
    """The view of dataset.html.

    Args:
        one: The dataset, as returned by the REST API.
        tab: Which tab is shown.
        models: Models whose tokens can be shown.
        templates: Built-in chat templates.
        suggested: An unused name for a filled-in copy.
        row: The row that is shown first.
    """

    one: dict[str, Any]
    tab: str
    models: list[str]
    templates: list[str]
    suggested: str
    row: int


@router.get("/datasets")
def datasets(request: Request) -> HTMLResponse:
    """Render the list."""
    accept = ",".join((*SUFFIXES, ".gz", ".zip"))
    view = DatasetsView(dataset_service.overview(), accept, dataset_service.upload_limit())
    return render(request, "datasets.html", view)


@router.get("/datasets/-/add")
def add(request: Request, source: str = "") -> HTMLResponse:
    """Render the page on which a source gets a format, columns and a name."""
    return render(request, "dataset_add.html", AddView(source[:4096], dataset_service.encodings()))


@router.get("/datasets/{name}")
def dataset(request: Request, name: str, tab: str = "see", row: int = 1) -> HTMLResponse:
    """Render one dataset."""
    one = dataset_service.describe(name)
    view = DatasetView(
        one=one,
        tab=tab if tab in TABS else "see",
        models=dataset_service.model_names(),
        templates=dataset_service.template_names(),
        suggested=dataset_service.suggested_copy_name(name, {}) if one["blanks"] else "",
        row=max(1, row),
    )
    return render(request, "dataset.html", view)
