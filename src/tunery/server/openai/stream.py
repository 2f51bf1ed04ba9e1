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
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_LAST: Message = {"type": "http.response.body", "body": b"", "more_body": False}
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
        self._since = time.monotonic()
        self._sends = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the events end, the client goes, or the server ends.

        Raises:
            TimeoutError: The client does not read; it keeps no slot.
        """
        sending = asyncio.ensure_future(self._send_all(send))
        leaving = asyncio.ensure_future(_disconnected(receive))
        ending = asyncio.ensure_future(_until(self._ending))
        try:
            while True:
                await asyncio.wait(
                    {sending, leaving, ending},
                    timeout=self._patience(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if sending.done() or leaving.done():
                    break
                if ending.done():
                    await _cancelled(sending)
                    async with asyncio.timeout(limits.SEND_SECONDS):
                        await send(_part(self._broken(shutting_down())))
                        await send(_LAST)
                    break
                if not self._sends and self._silence() >= limits.BEAT_SECONDS:
                    await self._tell(send, b": beat\n\n")
                elif self._sends and self._silence() >= limits.SEND_SECONDS:
                    raise TimeoutError
            if sending.done() and not sending.cancelled():
                sending.result()
        finally:
            await _cancelled(sending, leaving, ending)
            await self._lines.aclose()
            await self._close()  # lines that never began have no end of their own

    async def _send_all(self, send: Send) -> None:
        """The events in their order, by one task and without a timer each.

        What an event costs here is taken from the cores that the engine computes on.
        """
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for line in self._lines:
            await self._tell(send, line)
        await send(_LAST)

    async def _tell(self, send: Send, data: bytes) -> None:
        self._since, self._sends = time.monotonic(), True
        await send(_part(data))
        self._since, self._sends = time.monotonic(), False

    def _silence(self) -> float:
        """For how long nothing was sent, or something could not be."""
        return time.monotonic() - self._since

    def _patience(self) -> float:
        """Until something must be done about a silence; what holds may change meanwhile."""
        longest = min(limits.BEAT_SECONDS, limits.SEND_SECONDS)
        wanted = limits.SEND_SECONDS if self._sends else limits.BEAT_SECONDS
        return max(min(wanted - self._silence(), longest), 0.0)


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
    return name + b"data: " + encoded(value) + b"\n\n"


def encoded(value: Any) -> bytes:
    """Compact JSON."""
    return _ENCODER.encode(value).encode(errors="replace")


def _part(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


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
