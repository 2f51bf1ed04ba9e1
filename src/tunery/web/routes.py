"""Every page: one import and one entry an area."""

from __future__ import annotations

from fastapi import APIRouter

from tunery.web.pages import chat, datasets, login, settings, start, static

PAGES: list[APIRouter] = [
    chat.router,
    datasets.router,
    static.router,
    login.router,
    start.router,
    settings.router,
]
