"""Every page: one import and one entry an area."""

from __future__ import annotations

from fastapi import APIRouter

from tunery.web.pages import login, start, static

PAGES: list[APIRouter] = [
    static.router,
    login.router,
    start.router,
]
