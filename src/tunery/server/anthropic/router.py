"""``/v1/messages``: chat for clients of Anthropic's API."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from tunery.engines.base import Started
from tunery.server.anthropic import errors
from tunery.server.anthropic.answer import Answer
from tunery.server.anthropic.schemas import CountRequest, MessagesRequest, to_chat
from tunery.server.openai.choices import Choice
from tunery.server.openai.errors import Refused, renamed
from tunery.server.openai.route import ApiRoute, read_body
from tunery.server.openai.stream import while_connected
from tunery.server.openai.turn import Turn
from tunery.server.openai.work import Work, respond

_NAMES = {"response_format": "output_config.format", "continue_final_message": "messages"}


class _Route(ApiRoute):
    def refused(self, refused: Refused) -> Response:
        """Respond in Anthropic's error format."""
        return errors.response(renamed(refused, _NAMES))


router = APIRouter(prefix="/v1/messages", route_class=_Route)


@router.post("")
async def create(request: Request) -> Response:
    """Create a message, returned as content blocks."""
    wanted = await read_body(request, MessagesRequest)
    turn = await Turn.of(request, to_chat(wanted))
    # Its clients must set a limit and choose one for much larger models: treat it as a maximum.
    room = turn.target.context_length or wanted.max_tokens
    asked = replace(turn.asked, max_tokens=min(wanted.max_tokens, room))
    answer = Answer(wanted.model)

    def make(begun: Started, prompt: int, index: int) -> Choice:
        return answer.read_with(turn.reader(begun), begun.num_prompt_tokens)

    work = Work(answer, turn.target.engine, [asked], make)
    return await respond(request, work, stream=wanted.stream)


@router.post("/count_tokens")
async def count_tokens(request: Request) -> Response:
    """Count the tokens of messages in the model's own template, including tools."""
    wanted = await read_body(request, CountRequest)
    turn = await Turn.of(request, to_chat(wanted))
    counted = await while_connected(request, turn.target.engine.count_tokens(turn.asked))
    return JSONResponse({"input_tokens": counted})
