"""From engine events to bytes: streams with exact framing, which stop when the client goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from tunery.engines.base import Delta, Ended, Engine, EngineEvent, GenerateRequest, Started
from tunery.errors import TuneryError
from tunery.server.openai import limits
from tunery.server.openai.errors import Refused, of_tunery

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx hands each line on at once
}


class ClientGone(Exception):
    """Whoever asked has left; there is nobody to answer."""


class EventStream(Response):
    """Server-sent events from a generator, which is closed as soon as the client has gone.

    Args:
        lines: The events, framed. Its errors end the stream with an error event.
        ending: Set when the server shuts down; the stream then says so and ends.
        broken: Frames what ends a stream early, in the shape of the API that was asked.
        close: Called at the end, however it came.
    """

    def __init__(
        self,
        lines: AsyncGenerator[bytes],
        ending: asyncio.Event | None,
        broken: Callable[[Refused], bytes],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._lines = lines
        self._ending = ending
        self._broken = broken
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the events end, the client goes, or the server ends."""
        sending = asyncio.ensure_future(self._send_all(send))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            await _cancelled(sending, leaving)
            await self._lines.aclose()
            await self._close()  # lines that never began have no end of their own

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        ending = asyncio.ensure_future(_until(self._ending))
        coming: asyncio.Future[bytes] = asyncio.ensure_future(anext(self._lines))
        try:
            while True:
                await asyncio.wait(
                    {coming, ending},
                    timeout=limits.BEAT_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if coming.done():
                    try:
                        line = coming.result()
                    except StopAsyncIteration:
                        break
                    coming = asyncio.ensure_future(anext(self._lines))
                    await _send(send, line)
                elif ending.done():
                    await _send(send, self._broken(shutting_down()))
                    break
                else:
                    await _send(send, b": beat\n\n")
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await _cancelled(coming, ending)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Wait for something, unless the client goes or the server ends first; then it is cancelled.

    Raises:
        ClientGone: The client went.
        Refused: The server shuts down.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request.receive))
    ending = asyncio.ensure_future(_until(getattr(request.app.state, "ending", None)))
    try:
        await asyncio.wait({working, leaving, ending}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if leaving.done():
            raise ClientGone
        raise shutting_down()
    finally:
        await _cancelled(working, leaving, ending)


def shutting_down() -> Refused:
    """What is told to whoever still waits when the server ends."""
    return Refused(503, "The server is shutting down.", code="shutting_down")


async def generated(
    engine: Engine, request: GenerateRequest, *, seconds: float = limits.ANSWER_SECONDS
) -> AsyncGenerator[EngineEvent]:
    """The engine's events, with an end for every answer when the time is up.

    Raises:
        Refused: The engine refuses, or ended in the middle.
    """
    began = time.monotonic()
    counted = dict.fromkeys(range(request.num_answers), 0)
    events = engine.generate(request)
    try:
        while True:
            async with asyncio.timeout(max(began + seconds - time.monotonic(), 0.001)):
                event = await anext(events)
            if isinstance(event, Delta):
                counted[event.index] += len(event.token_ids)
            elif isinstance(event, Ended):
                del counted[event.index]
                if event.reason == "interrupted":
                    raise Refused(503, "The answer was interrupted.", code="interrupted")
            yield event
    except StopAsyncIteration:
        if counted:
            raise Refused(503, "The model's process has ended.", code="engine_gone") from None
    except TimeoutError:
        for index, num in counted.items():
            yield Ended(index, "length", num, 0.0, seconds)
    except TuneryError as error:
        raise of_tunery(error) from error
    finally:
        await _closed(events)


async def started(
    events: AsyncGenerator[EngineEvent],
) -> Started:
    """The first event, so that what an engine refuses is refused before a response begins."""
    try:
        first = await anext(events)
    except StopAsyncIteration:
        first = None
    if not isinstance(first, Started):
        await events.aclose()
        raise Refused(503, "The model's process has ended.", code="engine_gone")
    return first


def framed(value: Any, event: str = "") -> bytes:
    """One event, with its name where the API names its events."""
    name = b"event: " + event.encode() + b"\n" if event else b""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return name + b"data: " + text.encode(errors="replace") + b"\n\n"


async def _send(send: Send, data: bytes) -> None:
    message: Message = {"type": "http.response.body", "body": data, "more_body": True}
    async with asyncio.timeout(limits.SEND_SECONDS):  # a client that does not read keeps no slot
        await send(message)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _until(event: asyncio.Event | None) -> None:
    if event is None:
        await asyncio.get_running_loop().create_future()
    else:
        await event.wait()


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have cleaned up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _closed(events: AsyncIterator[EngineEvent]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        with contextlib.suppress(RuntimeError):  # already running: it was cancelled
            await close()
