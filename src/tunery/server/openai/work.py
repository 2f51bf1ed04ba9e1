"""One request in progress: its engine requests, and how the answers are returned.

Each API supplies a ``Shape`` for the whole response and a ``Choice`` for each answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import Request
from starlette.responses import JSONResponse, Response

from tunery.engines.base import Delta, Ended, Engine, EngineEvent, GenerateRequest, Started
from tunery.server.openai import places
from tunery.server.openai.choices import Choice, Usage
from tunery.server.openai.errors import Refused
from tunery.server.openai.metrics import Metrics
from tunery.server.openai.places import Place
from tunery.server.openai.route import state_of
from tunery.server.openai.stream import EventStream, generated, started, while_connected


class Shape(Protocol):
    """How one API formats a response."""

    model: str

    def frame(self, chunk: dict[str, Any]) -> bytes:
        """A chunk of a choice as stream events."""
        ...

    def last(self, usage: Usage) -> bytes:
        """The end of a complete stream."""
        ...

    def broken(self, refused: Refused) -> bytes:
        """The end of a stream after an error."""
        ...

    def whole(self, choices: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
        """The complete response."""
        ...


def _unlimited(num_tokens: int) -> None:
    """Count nothing: the key has no limits."""


@dataclass(slots=True)
class Work:
    """One request in progress: its engine requests, and how the answers are returned.

    Args:
        head: The format of the whole response.
        engine: The engine that answers.
        asked: One engine request per prompt.
        spend: Called with the number of tokens, as they are read or written.
        make: Makes the choice for an answer, from the prompt's start, its index and the answer's.
    """

    head: Shape
    engine: Engine
    asked: Sequence[GenerateRequest]
    make: Callable[[Started, int, int], Choice]
    spend: Callable[[int], None] = _unlimited
    usage: Usage = field(default_factory=Usage)
    choices: dict[tuple[int, int], Choice] = field(default_factory=dict[tuple[int, int], Choice])
    sources: list[AsyncGenerator[EngineEvent]] = field(
        default_factory=list[AsyncGenerator[EngineEvent]]
    )

    async def begin(self) -> None:
        """Start every prompt; what the engine rejects is raised here."""
        self.sources = [generated(self.engine, each) for each in self.asked]
        try:
            firsts = await asyncio.gather(*map(started, self.sources))
        except BaseException:
            await self.close()
            raise
        for prompt, first in enumerate(firsts):
            self.usage.prompt += first.num_prompt_tokens
            self.spend(first.num_prompt_tokens)
            for index in range(self.asked[prompt].num_answers):
                self.choices[prompt, index] = self.make(first, prompt, index)

    async def close(self) -> None:
        """Cancel everything that is not complete."""
        for source in self.sources:
            with contextlib.suppress(RuntimeError):
                await source.aclose()

    async def chunks(self, metrics: Metrics) -> AsyncGenerator[dict[str, Any]]:
        """Choice chunks of all answers as they arrive."""
        metrics.read(self.head.model, self.usage.prompt)
        for choice in self.choices.values():
            for chunk in choice.begin():
                yield chunk
        async with contextlib.aclosing(_merged(self.sources)) as events:
            async for prompt, event in events:
                if isinstance(event, Delta | Ended):  # at once: a client may disconnect any time
                    self.spend(len(event.token_ids))
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


async def respond(request: Request, work: Work, *, stream: bool) -> Response:
    """Respond with a stream, or with everything at once.

    Raises:
        ClientGone: The client disconnected.
        Refused: The engine rejects it, every slot is taken, or the server is shutting down.
    """
    state = state_of(request)
    place = places.take(request)
    if place.use is not None:
        work.spend = place.use.spend
    try:
        await while_connected(request, work.begin())
        if stream:
            lines = _lines(work, state.metrics)
            ending = getattr(request.app.state, "ending", None)
            return EventStream(lines, ending, work.head.broken, lambda: _leave(work, place))
        await while_connected(request, _exhausted(work, state.metrics))
    except BaseException:
        await _leave(work, place)
        raise
    await _leave(work, place)
    choices = [choice.told() for choice in work.choices.values()]
    return JSONResponse(work.head.whole(choices, work.usage))


async def _leave(work: Work, place: Place) -> None:
    await work.close()
    place.leave()


async def _lines(work: Work, metrics: Metrics) -> AsyncGenerator[bytes]:
    """The framed events of a stream, including its end."""
    complete = False
    try:
        async with contextlib.aclosing(work.chunks(metrics)) as chunks:
            async for chunk in chunks:
                yield work.head.frame(chunk)
        complete = True
        yield work.head.last(work.usage)
    except Refused as refused:
        complete = True
        yield work.head.broken(refused)
    finally:
        if not complete:
            metrics.cancelled()


async def _exhausted(work: Work, metrics: Metrics) -> None:
    async with contextlib.aclosing(work.chunks(metrics)) as chunks:
        async for _ in chunks:
            pass


async def _merged(
    sources: Sequence[AsyncGenerator[EngineEvent]],
) -> AsyncGenerator[tuple[int, EngineEvent]]:
    """Events of several prompts as they arrive, each with its prompt's index."""
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
