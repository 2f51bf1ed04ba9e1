"""``POST /v1/embeddings``: a sentence. Models here write text, and none was trained to embed it."""

from __future__ import annotations

from typing import ClassVar

from fastapi import APIRouter, Request
from pydantic import ConfigDict
from starlette.concurrency import run_in_threadpool

from tunery.server.openai import quota
from tunery.server.openai.errors import invalid
from tunery.server.openai.route import ApiRoute, read_body
from tunery.server.openai.schemas import Body
from tunery.services import chat

SHOWN = 10

router = APIRouter(prefix="/v1", route_class=ApiRoute)


class EmbeddingRequest(Body):
    """What is asked for; only the model matters."""

    model_config = ConfigDict(strict=True, extra="ignore")
    ignored: ClassVar[frozenset[str]] = frozenset()

    model: str


@router.post("/embeddings")
async def embeddings(request: Request) -> None:
    """Say what is served in place of embeddings.

    Raises:
        Refused: Always.
    """
    wanted = await read_body(request, EmbeddingRequest)
    quota.check_model(request, wanted.model)
    found = await run_in_threadpool(chat.find_served, wanted.model)
    allowed = quota.limits_of(request).models
    names = [each.name for each in chat.served() if not allowed or each.name in allowed]
    told = ", ".join(names[:SHOWN]) + (" and others" if len(names) > SHOWN else "")
    raise invalid(
        "model",
        f"model: {found.name} writes text and gives no embeddings. Served here, for "
        f"/v1/chat/completions, /v1/responses, /v1/completions and /v1/messages: {told}.",
        code="unsupported_model",
    )
