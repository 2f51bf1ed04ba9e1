"""All routers of the API: one import and one entry per area."""

from __future__ import annotations

from fastapi import APIRouter

from tunery.server import live
from tunery.server.api import (
    chats,
    config,
    datasets,
    downloads,
    drafts,
    exports,
    infer,
    jobs,
    keys,
    machine,
    models,
    notify,
    prefs,
    queue,
    runs,
    runs_start,
    serving,
    settings,
)
from tunery.server.openai.routes import V1_ROUTERS

API_ROUTERS: list[APIRouter] = [
    exports.router,
    serving.router,
    jobs.router,
    downloads.router,
    models.router,
    chats.router,
    datasets.router,
    live.router,
    infer.router,
    keys.router,
    prefs.router,
    machine.router,
    runs.router,
    queue.router,
    notify.router,
    *V1_ROUTERS,
    settings.router,
    config.router,
    drafts.router,
    runs_start.router,
]
