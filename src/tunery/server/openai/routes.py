"""All routers of ``/v1``: OpenAI's legacy and current APIs, and Anthropic's."""

from __future__ import annotations

from fastapi import APIRouter

from tunery.server.anthropic import router as messages
from tunery.server.openai import embeddings, responses, router

V1_ROUTERS: list[APIRouter] = [
    router.router,
    router.figures,
    responses.router,
    messages.router,
    embeddings.router,
]
