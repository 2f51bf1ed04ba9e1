"""The routes of the OpenAI-compatible API, and the steps of one request."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tunery.engines.base import Started
from tunery.i18n import t
from tunery.server.openai import prompts, quota
from tunery.server.openai.choices import ChatChoice, Choice, Head, TextChoice
from tunery.server.openai.errors import Refused, renamed
from tunery.server.openai.metrics import CONTENT_TYPE
from tunery.server.openai.prompts import Reader
from tunery.server.openai.route import ApiRoute, find_target, read_body, state_of
from tunery.server.openai.schemas import ChatRequest, CompletionRequest
from tunery.server.openai.turn import Turn
from tunery.server.openai.work import Work, respond
from tunery.server.security.access import Forbidden
from tunery.services import chat

router = APIRouter(prefix="/v1", route_class=ApiRoute)
figures = APIRouter()


@figures.get("/health")
def health(request: Request) -> dict[str, Any]:
    """Report that the server is running; needs no key.

    Under ``tunery serve``, also return after how many idle minutes models are unloaded (0: never).
    Nothing else is revealed.
    """
    minutes = getattr(request.app.state, "unload_after_minutes", None)
    return (
        {"status": "ok"} if minutes is None else {"status": "ok", "unload_after_minutes": minutes}
    )


@figures.get("/metrics")
async def metrics(request: Request) -> Response:
    """Get metrics in Prometheus format; needs a key without limits, as they cover all keys."""
    if quota.limits_of(request).bounds_chat:
        raise Forbidden(
            t("A key with limits cannot read the metrics: they cover all keys and models."),
            fix=t("Use a key without limits."),
            code="forbidden",
        )
    found = await chat.engine_pool().statuses()
    return Response(state_of(request).metrics.text(found), media_type=CONTENT_TYPE)


@router.get("/models")
def models(request: Request) -> dict[str, Any]:
    """List the served models that the key may use."""
    allowed = quota.limits_of(request).models
    found = [each for each in chat.served() if not allowed or each.name in allowed]
    return {"object": "list", "data": [_model(each) for each in found]}


@router.get("/models/{name:path}")
def model(request: Request, name: str) -> dict[str, Any]:
    """Get one served model; refused if the key may not use it."""
    quota.check_model(request, name)
    return _model(chat.find_served(name))


@router.post("/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Create a chat completion, whole or as a stream."""
    wanted = await read_body(request, ChatRequest)
    turn = await Turn.of(request, wanted)

    def make(begun: Started, prompt: int, index: int) -> Choice:
        return ChatChoice(index, turn.reader(begun), with_logprobs=wanted.logprobs)

    head = Head("chat.completion", wanted.model, "chat.completion.chunk", _with_usage(wanted))
    work = Work(head, turn.target.engine, [turn.asked], make)
    return await respond(request, work, stream=wanted.stream)


@router.post("/completions")
async def completions(request: Request) -> Response:
    """Continue text without applying a chat template."""
    wanted = await read_body(request, CompletionRequest)
    target = await find_target(request, wanted.model)
    asked = prompts.of_completion(wanted, Reader(target.adapter, target.context_length))

    def make(begun: Started, prompt: int, index: int) -> Choice:
        echo = ""
        if wanted.echo:
            given = asked[prompt].prompt
            echo = begun.prompt_text if given is None else given
        place = prompt * wanted.n + index
        return TextChoice(place, echo, with_logprobs=wanted.logprobs is not None)

    head = Head("text_completion", wanted.model, "text_completion", _with_usage(wanted))
    work = Work(head, target.engine, asked, make)
    try:
        return await respond(request, work, stream=wanted.stream)
    except Refused as refused:
        raise renamed(refused, {"messages": "prompt"}) from None


def _with_usage(wanted: ChatRequest | CompletionRequest) -> bool:
    return wanted.stream_options is not None and wanted.stream_options.include_usage


def _model(each: chat.Served) -> dict[str, Any]:
    return {"id": each.name, "object": "model", "created": each.since, "owned_by": "tunery"}
