"""All pages: one import and one entry per page."""

from __future__ import annotations

from fastapi import APIRouter

from tunery.web.pages import (
    chat,
    compare,
    datasets,
    evaluate,
    export,
    login,
    models,
    run,
    runs,
    settings,
    start,
    static,
    train,
)

PAGES: list[APIRouter] = [
    evaluate.router,
    export.router,
    chat.router,
    datasets.router,
    static.router,
    login.router,
    models.router,
    start.router,
    settings.router,
    runs.router,
    run.router,
    compare.router,
    train.router,
]
