"""``/v1/responses``, on top of chat requests. Responses are not stored and cannot be retrieved."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from tunery.engines.base import Started
from tunery.server.openai.choices import Choice
from tunery.server.openai.errors import Refused, renamed
from tunery.server.openai.responses_answer import Answer
from tunery.server.openai.responses_schema import ResponsesRequest, to_chat
from tunery.server.openai.route import ApiRoute, read_body
from tunery.server.openai.turn import Turn
from tunery.server.openai.work import Work, respond

_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}


class _Route(ApiRoute):
    def refused(self, refused: Refused) -> Response:
        """Use the field names of this API."""
        return super().refused(renamed(refused, _NAMES))


router = APIRouter(prefix="/v1", route_class=_Route)


@router.post("/responses")
async def create(request: Request) -> Response:
    """Create a response, returned as items; it is not stored."""
    wanted = await read_body(request, ResponsesRequest)
    turn = await Turn.of(request, to_chat(wanted))
    answer = Answer(wanted)

    def make(begun: Started, prompt: int, index: int) -> Choice:
        return answer.read_with(turn.reader(begun))

    work = Work(answer, turn.target.engine, [turn.asked], make)
    return await respond(request, work, stream=wanted.stream)


@router.api_route("/responses/{id_}", methods=["GET", "DELETE"], include_in_schema=False)
@router.get("/responses/{id_}/input_items", include_in_schema=False)
@router.post("/responses/{id_}/cancel", include_in_schema=False)
def stored(id_: str) -> Response:
    """Respond that responses are not stored.

    Raises:
        Refused: Always.
    """
    raise Refused(
        404,
        "Responses are not stored here (store is off). Keep the answer of POST /v1/responses.",
        code="not_stored",
    )
