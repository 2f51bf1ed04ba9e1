"""Every router of the API: one import and one entry an area."""

from __future__ import annotations

from fastapi import APIRouter

from tunery.server import live
from tunery.server.api import keys, machine, prefs

API_ROUTERS: list[APIRouter] = [
    live.router,
    keys.router,
    prefs.router,
    machine.router,
]
