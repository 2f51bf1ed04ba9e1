"""Every page: one import and one entry an area."""

from __future__ import annotations

from fastapi import APIRouter

from tunery.web.pages import (
    chat,
    compare,
    datasets,
    login,
    run,
    runs,
    settings,
    start,
    static,
)

PAGES: list[APIRouter] = [
    chat.router,
    datasets.router,
    static.router,
    login.router,
    start.router,
    settings.router,
    runs.router,
    run.router,
    compare.router,
]
