"""From engine events to bytes: streams with exact framing that stop when the client disconnects."""

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
    "X-Accel-Buffering": "no",  # nginx then forwards each line at once
}


class ClientGone(Exception):
    """The client has disconnected; there is nobody to respond to."""


class EventStream(Response):
    """Server-sent events from a generator, which is closed as soon as the client disconnects.

    Args:
        lines: The events, framed. An error in it ends the stream with an error event.
        ending: Set when the server shuts down; the stream then reports it and ends.
        broken: Frames the end of a stream after an error, in the format of the requested API.
        close: Called at the end in any case.
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
        """Send until the events end, the client disconnects, or the server stops.

        Raises:
            TimeoutError: The client does not read, so its slot is released.
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
            await self._close()  # a generator that was never started does not run its own cleanup

    async def _send_all(self, send: Send) -> None:
        """Send the events in order, in a single task and without a timer per event.

        CPU time spent on an event here is taken from the cores that the engine computes on.
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
        """Seconds since the last send finished, or since a pending one started."""
        return time.monotonic() - self._since

    def _patience(self) -> float:
        """Seconds until a silence requires action; the state may change in the meantime."""
        longest = min(limits.BEAT_SECONDS, limits.SEND_SECONDS)
        wanted = limits.SEND_SECONDS if self._sends else limits.BEAT_SECONDS
        return max(min(wanted - self._silence(), longest), 0.0)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Wait for a result; cancel it if the client disconnects or the server stops first.

    Raises:
        ClientGone: The client disconnected.
        Refused: The server is shutting down.
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
    """The error for clients that are still waiting when the server stops."""
    return Refused(503, "The server is shutting down.", code="shutting_down")


async def generated(
    engine: Engine, request: GenerateRequest, *, seconds: float = limits.ANSWER_SECONDS
) -> AsyncGenerator[EngineEvent]:
    """The engine's events; every answer that is still active when the time is up is ended.

    Raises:
        Refused: The engine rejects the request, or stopped in the middle.
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
    """The first event, so that the engine can reject a request before a response begins."""
    try:
        first = await anext(events)
    except StopAsyncIteration:
        first = None
    if not isinstance(first, Started):
        await events.aclose()
        raise Refused(503, "The model's process has ended.", code="engine_gone")
    return first


def framed(value: Any, event: str = "") -> bytes:
    """One event, with its name if the API names its events."""
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
        with contextlib.suppress(RuntimeError):  # already running, so it was cancelled
            await close()
