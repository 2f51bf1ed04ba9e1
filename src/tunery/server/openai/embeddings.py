"""``POST /v1/embeddings``: text embeddings from the hidden states of a served model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Request
from pydantic import Field, field_validator
from starlette.responses import JSONResponse, Response

from tunery.engines.embed import Embedded, Embeds
from tunery.errors import TuneryError
from tunery.server.openai import limits, places
from tunery.server.openai.errors import Refused, invalid, of_tunery, public
from tunery.server.openai.places import Place
from tunery.server.openai.route import ApiRoute, find_target, read_body, state_of
from tunery.server.openai.schemas import ACCEPTED, Body
from tunery.server.openai.stream import while_connected
from tunery.types import is_list

router = APIRouter(prefix="/v1", route_class=ApiRoute)


class EmbeddingRequest(Body):
    """The supported fields."""

    refused: ClassVar[Mapping[str, str]] = {
        "input_type": "write the instruction into the text, as the model's page describes",
        "truncate": "texts that are too long are rejected",
        "truncate_prompt_tokens": "texts that are too long are rejected",
    }

    model: Annotated[str, Field(min_length=1, max_length=limits.MAX_NAME_LETTERS)]
    input: list[str | list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _input_is_text(cls, value: Any) -> Any:
        texts: Any = [value] if isinstance(value, str) or _are_ids(value) else value
        if not is_list(texts) or not texts:
            raise ValueError(ACCEPTED)
        if not all(isinstance(text, str) or _are_ids(text) for text in texts):
            raise ValueError(ACCEPTED)
        if not all(texts):
            raise ValueError("contains an empty text, which has no embedding")
        return texts


@router.post("/embeddings")
async def embeddings(request: Request) -> Response:
    """Compute an embedding of each text.

    Rejects a text that cannot be read, and a model whose engine cannot compute embeddings. Stops
    if the client disconnects.
    """
    wanted = await read_body(request, EmbeddingRequest)
    target = await find_target(request, wanted.model)
    engine = target.engine
    if "embed" not in engine.can or not isinstance(engine, Embeds):
        raise invalid(
            "model", "model: its engine does not support embeddings.", code="unsupported_model"
        )
    place = places.take(request)
    try:
        work = _made(wanted, engine, target.adapter, place)
        found = await while_connected(request, work)
    finally:
        place.leave()
    read = sum(each.num_tokens for each in found)
    state_of(request).metrics.read(wanted.model, read)
    data = [_told(index, each, wanted.encoding_format) for index, each in enumerate(found)]
    usage = {"prompt_tokens": read, "total_tokens": read}
    return JSONResponse({"object": "list", "data": data, "model": wanted.model, "usage": usage})


async def _made(
    wanted: EmbeddingRequest, engine: Embeds, adapter: str | None, place: Place
) -> list[Embedded]:
    found: list[Embedded] = []
    for index, text in enumerate(wanted.input):
        try:
            each = await engine.embed(text, adapter=adapter)
        except TuneryError as error:
            raise _refused(error, f"input[{index}]" if len(wanted.input) > 1 else "input") from None
        place.spend(each.num_tokens)
        found.append(each)
        _check_dimensions(wanted.dimensions, len(each.vector))
    return found


def _check_dimensions(asked: int | None, size: int) -> None:
    if asked is not None and asked != size:
        raise invalid(
            "dimensions",
            f"dimensions: this model's embeddings have {size} numbers, and cutting them to "
            f"{asked} is not supported. Leave it out.",
            code="unsupported_parameter",
        )


def _refused(error: TuneryError, place: str) -> Refused:
    refused = of_tunery(error)
    if error.code == "too_long":
        message = public(error.message, "it is too long for this model.")
        return invalid(place, f"{place}: {message}", code="context_length_exceeded")
    if refused.status != 400:
        return refused
    return invalid(place, f"{place}: {refused.message}", code=refused.code or "invalid_value")


def _told(index: int, found: Embedded, encoding: str) -> dict[str, Any]:
    numbers = found.base64 if encoding == "base64" else list(found.vector)
    return {"object": "embedding", "index": index, "embedding": numbers}


def _are_ids(value: Any) -> bool:
    return (
        is_list(value) and bool(value) and all(type(token) is int and token >= 0 for token in value)
    )
