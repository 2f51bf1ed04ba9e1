"""One question to an engine's process whose answer is a stream of lines.

A client of HTTP in general spends half a millisecond on a line, which is time of the cores that the
engine computes on. An engine's socket needs the least of it: HTTP/1.0, where the end of the
connection is the end of the answer, so the body is nothing but its lines.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 5.0
QUIET_SECONDS = 300.0
"""Longest silence of an engine in the middle of an answer."""
MOST_HELD_BYTES = 65_536
"""More than this waits at the engine."""


class Refusal(Exception):
    """The engine answered with another status than 200.

    Args:
        body: What it said.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


async def lines(socket: Path, path: str, body: Any) -> AsyncGenerator[bytes]:
    """Post a body as JSON and give the lines of the answer; closing this hangs up.

    Raises:
        Refusal: The status is not 200.
        OSError: Nobody listens there, or the connection broke.
        TimeoutError: It does not answer, or no more.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        transport, answer = await loop.create_unix_connection(_Answer, str(socket))
    try:
        transport.write(_request(path, body))
        while not await answer.head():
            pass
        if answer.status != b"200":
            while await answer.more():
                pass
            raise Refusal(answer.rest)
        while True:
            *whole, answer.rest = answer.rest.split(b"\n")
            for line in whole:
                yield line
            if not await answer.more():
                break
        if answer.rest:
            raise ConnectionResetError("the last line is not whole")
    finally:
        answer.forget()
        transport.abort()


class _Answer(asyncio.Protocol):
    """What came and was not taken yet. The silence is bounded by one timer, not by one a read."""

    def __init__(self) -> None:
        self.rest = b""
        self.status = b""
        self._came: list[bytes] = []
        self._held = 0
        self._ended = False
        self._broken: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(QUIET_SECONDS, self._look)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, to hold the engine back where the reader is slow."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._heard = self._loop.time()
        self._came.append(data)
        self._held += len(data)
        if self._held > MOST_HELD_BYTES:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The answer is over."""
        self._ended, self._broken = True, self._broken or exc
        self._wake()

    async def head(self) -> bool:
        """Read the head; False where more must come first."""
        head, found, rest = self.rest.partition(b"\r\n\r\n")
        if not found:
            if not await self.more():
                raise ConnectionResetError("no whole answer came")
            return False
        self.status, self.rest = head.split(b" ", 2)[1], rest
        return True

    async def more(self) -> bool:
        """Wait until more has come and put it to ``rest``; False at the end."""
        if not self._came and not self._ended:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if not self._came:
            if self._broken is not None:
                raise self._broken
            return False
        self.rest += b"".join(self._came)
        self._came.clear()
        if self._held > MOST_HELD_BYTES:
            self._transport.resume_reading()
        self._held = 0
        return True

    def forget(self) -> None:
        """Nobody waits any more."""
        self._timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _look(self) -> None:
        left = self._heard + QUIET_SECONDS - self._loop.time()
        if left > 0 or self._held:  # what waits to be taken is no silence of the engine
            self._timer = self._loop.call_later(max(left, 1.0), self._look)
        else:
            self._ended, self._broken = True, TimeoutError()
            self._wake()


def _request(path: str, body: Any) -> bytes:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    head = f"POST {path} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
