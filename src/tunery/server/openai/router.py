"""The routes of the OpenAI-compatible API, and what one request goes through."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from tunery.chat.answers import AnswerReader
from tunery.chat.tool_calls import FORCED, Syntax, syntax_of
from tunery.engines.base import Delta, Ended, Engine, EngineEvent, GenerateRequest, Started
from tunery.errors import TuneryError
from tunery.server.openai import limits, prompts
from tunery.server.openai.answer_schema import forces_call
from tunery.server.openai.choices import ChatChoice, Choice, Head, TextChoice, Usage, in_thinking
from tunery.server.openai.errors import Refused, of_tunery
from tunery.server.openai.metrics import CONTENT_TYPE, Metrics
from tunery.server.openai.prompts import Reader
from tunery.server.openai.reading import read
from tunery.server.openai.schemas import ChatRequest, CompletionRequest
from tunery.server.openai.stream import (
    DONE,
    ClientGone,
    EventStream,
    framed,
    generated,
    started,
    while_connected,
)
from tunery.services import chat
from tunery.services.chat import Target

CLIENT_GONE = 499  # nginx's number for it; nobody reads this answer
TARGET_SECONDS = 5.0  # to resolve a name for each request would read its files each time


@dataclass(slots=True)
class State:
    """What the routes of one server share.

    Args:
        metrics: Its figures.
        rate: Requests of each key.
        num_open: Requests being answered now.
        targets: Who answers for a model, and until when that is believed.
    """

    metrics: Metrics = field(default_factory=Metrics)
    rate: limits.Rate = field(default_factory=limits.Rate)
    num_open: int = 0
    targets: dict[str, tuple[Target, float]] = field(
        default_factory=dict[str, tuple[Target, float]]
    )


class _Route(APIRoute):
    """A route whose errors have OpenAI's shape, whose requests are counted and bounded."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            """Answer, or say in OpenAI's shape why not."""
            state = state_of(request)
            try:
                _check_rate(request, state)
                response = await inner(request)
            except Refused as refused:
                if refused.code == "engine_gone":
                    state.targets.clear()
                response = refused.response()
            except TuneryError as error:
                response = of_tunery(error).response()
            except ClientGone:
                state.metrics.cancelled()
                response = Response(status_code=CLIENT_GONE)
            model = getattr(request.state, "served_name", "")
            state.metrics.answered(self.path, model, response.status_code)
            return response

        return handler


router = APIRouter(prefix="/v1", route_class=_Route)
figures = APIRouter()


def state_of(request: Request) -> State:
    """The shared state of this server; made at its first request."""
    state = getattr(request.app.state, "openai", None)
    if state is None:
        state = request.app.state.openai = State()
    return state


@figures.get("/health")
def health(request: Request) -> dict[str, Any]:
    """Whether the server lives, and under ``tunery serve`` when models are unloaded (0: never).

    It says nothing else, so that probes need no key.
    """
    minutes = getattr(request.app.state, "unload_after_minutes", None)
    return (
        {"status": "ok"} if minutes is None else {"status": "ok", "unload_after_minutes": minutes}
    )


@figures.get("/metrics")
async def metrics(request: Request) -> Response:
    """Figures for Prometheus; needs a key."""
    found = await chat.engine_pool().statuses()
    return Response(state_of(request).metrics.text(found), media_type=CONTENT_TYPE)


@router.get("/models")
def models() -> dict[str, Any]:
    """Every served name."""
    return {"object": "list", "data": [_model(each) for each in chat.served()]}


@router.get("/models/{name:path}")
def model(name: str) -> dict[str, Any]:
    """One served name."""
    return _model(chat.find_served(name))


@router.post("/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Answer a conversation."""
    wanted = await _read(request, ChatRequest)
    target = await _target(request, wanted.model)
    source = await run_in_threadpool(chat.template_source, target.resolved)
    syntax = FORCED if forces_call(wanted) else syntax_of(source)
    reader = Reader(target.adapter, target.context_length, target.template)
    asked = prompts.of_chat(wanted, reader, syntax)
    prompts.check_tools(asked, source)

    def make(begun: Started, prompt: int, index: int) -> Choice:
        return ChatChoice(index, _reader(begun, asked, syntax), with_logprobs=wanted.logprobs)

    head = Head("chat.completion", wanted.model, "chat.completion.chunk")
    return await _respond(request, wanted, _Work(head, target.engine, [asked], make))


@router.post("/completions")
async def completions(request: Request) -> Response:
    """Continue text, as it stands."""
    wanted = await _read(request, CompletionRequest)
    target = await _target(request, wanted.model)
    asked = prompts.of_completion(wanted, Reader(target.adapter, target.context_length))

    def make(begun: Started, prompt: int, index: int) -> Choice:
        echo = ""
        if wanted.echo:
            given = asked[prompt].prompt
            echo = begun.prompt_text if given is None else given
        place = prompt * wanted.n + index
        return TextChoice(place, echo, with_logprobs=wanted.logprobs is not None)

    head = Head("text_completion", wanted.model, "text_completion")
    return await _respond(request, wanted, _Work(head, target.engine, asked, make))


@dataclass(slots=True)
class _Work:
    """One request on its way: what is asked of the engine, and what the answers become.

    Args:
        head: Of every object of the response.
        engine: Who answers.
        asked: One engine request a prompt.
        make: Makes the choice of a prompt's answer: the prompt's start, its place, the answer's.
    """

    head: Head
    engine: Engine
    asked: Sequence[GenerateRequest]
    make: Callable[[Started, int, int], Choice]
    usage: Usage = field(default_factory=Usage)
    choices: dict[tuple[int, int], Choice] = field(default_factory=dict[tuple[int, int], Choice])
    sources: list[AsyncGenerator[EngineEvent]] = field(
        default_factory=list[AsyncGenerator[EngineEvent]]
    )

    async def begin(self) -> None:
        """Start every prompt; what an engine refuses is refused here."""
        self.sources = [generated(self.engine, each) for each in self.asked]
        try:
            firsts = await asyncio.gather(*map(started, self.sources))
        except BaseException:
            await self.close()
            raise
        for prompt, first in enumerate(firsts):
            self.usage.prompt += first.num_prompt_tokens
            for index in range(self.asked[prompt].num_answers):
                self.choices[prompt, index] = self.make(first, prompt, index)

    async def close(self) -> None:
        """Cancel what is not complete."""
        for source in self.sources:
            with contextlib.suppress(RuntimeError):
                await source.aclose()

    async def chunks(self, metrics: Metrics) -> AsyncGenerator[dict[str, Any]]:
        """Choice chunks of every answer as they come."""
        metrics.read(self.head.model, self.usage.prompt)
        for choice in self.choices.values():
            for chunk in choice.begin():
                yield chunk
        async with contextlib.aclosing(_merged(self.sources)) as events:
            async for prompt, event in events:
                if isinstance(event, Delta):
                    for chunk in self.choices[prompt, event.index].take(event):
                        yield chunk
                elif isinstance(event, Ended):
                    choice = self.choices[prompt, event.index]
                    self.usage.completion += event.num_tokens
                    metrics.wrote(
                        self.head.model, event.num_tokens, event.first_token_seconds, event.seconds
                    )
                    for chunk in choice.finish(event):
                        yield chunk
                    self.usage.reasoning += choice.num_reasoning


async def _respond(
    request: Request, wanted: ChatRequest | CompletionRequest, work: _Work
) -> Response:
    state = state_of(request)
    if state.num_open >= limits.MAX_OPEN:
        raise Refused(
            429, "All places are taken now. Try again soon.", headers={"Retry-After": "1"}
        )
    place = _Place(state)
    try:
        await while_connected(request, work.begin())
        if wanted.stream:
            options = wanted.stream_options
            with_usage = options is not None and options.include_usage
            lines = _lines(work, state.metrics, with_usage=with_usage)
            ending = getattr(request.app.state, "ending", None)
            return EventStream(lines, ending, lambda: _leave(work, place))
        await while_connected(request, _exhausted(work, state.metrics))
    except BaseException:
        await _leave(work, place)
        raise
    await _leave(work, place)
    choices = [choice.whole() for choice in work.choices.values()]
    return JSONResponse(work.head.whole(choices, work.usage))


class _Place:
    """One of the places for requests being answered; left once."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._taken = True
        state.num_open += 1
        state.metrics.open.inc()

    def leave(self) -> None:
        """Let the next one in."""
        if self._taken:
            self._taken = False
            self.state.num_open -= 1
            self.state.metrics.open.dec()


async def _leave(work: _Work, place: _Place) -> None:
    await work.close()
    place.leave()


async def _lines(work: _Work, metrics: Metrics, *, with_usage: bool) -> AsyncGenerator[bytes]:
    """The framed events of a stream, to its [DONE]."""
    more: dict[str, Any] = {"usage": None} if with_usage else {}
    complete = False
    try:
        async with contextlib.aclosing(work.chunks(metrics)) as chunks:
            async for chunk in chunks:
                yield framed(work.head.part([chunk], **more))
        if with_usage:
            yield framed(work.head.part([], usage=work.usage.as_dict()))
        complete = True
        yield DONE
    except Refused as refused:
        complete = True
        yield framed(refused.body()) + DONE
    finally:
        if not complete:
            metrics.cancelled()


async def _exhausted(work: _Work, metrics: Metrics) -> None:
    async with contextlib.aclosing(work.chunks(metrics)) as chunks:
        async for _ in chunks:
            pass


async def _merged(
    sources: Sequence[AsyncGenerator[EngineEvent]],
) -> AsyncGenerator[tuple[int, EngineEvent]]:
    """Events of several prompts as they come, each with its prompt's place."""
    if len(sources) == 1:
        async for event in sources[0]:
            yield 0, event
        return
    coming = {asyncio.ensure_future(anext(s)): i for i, s in enumerate(sources)}
    try:
        while coming:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                place = coming.pop(task)
                try:
                    event = task.result()
                except StopAsyncIteration:
                    continue
                coming[asyncio.ensure_future(anext(sources[place]))] = place
                yield place, event
    finally:
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)


def _reader(begun: Started, asked: GenerateRequest, syntax: Syntax) -> AnswerReader:
    return AnswerReader(
        syntax,
        tools=asked.tools or (),
        in_thinking=in_thinking(begun, syntax.thinking),
    )


async def _read(request: Request, kind: type[Any]) -> Any:
    body = await request.body()
    if len(body) > 65_536:  # a long body keeps the loop from everybody else
        return await run_in_threadpool(read, kind, body)
    return read(kind, body)


async def _target(request: Request, name: str) -> Target:
    found = await run_in_threadpool(chat.find_served, name)
    request.state.served_name = found.name
    state = state_of(request)
    target, until = state.targets.get(found.model, (None, 0.0))
    if target is None or until < time.monotonic():
        target = await while_connected(request, chat.engine_pool().ready(found.model))
        state.targets[found.model] = target, time.monotonic() + TARGET_SECONDS
    return target


def _check_rate(request: Request, state: State) -> None:
    principal = getattr(request.state, "principal", None)
    seconds = state.rate.wait_seconds(principal.id if principal else "")
    if seconds:
        raise Refused(
            429,
            "This key sends more requests than it may. Wait a moment.",
            headers={"Retry-After": str(max(1, round(seconds + 0.5)))},
        )


def _model(each: chat.Served) -> dict[str, Any]:
    return {"id": each.name, "object": "model", "created": each.since, "owned_by": "tunery"}
