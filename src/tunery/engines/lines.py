"""A streaming request to an engine's process, answered line by line.

A general HTTP client spends half a millisecond per line, on the cores that the engine computes on.
An engine's socket needs only the minimum: HTTP/1.0, where the end of the connection is the end of
the response, so the body consists of nothing but the lines.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 5.0
QUIET_SECONDS = 300.0
"""Maximum time without data from an engine during a response."""
MOST_HELD_BYTES = 65_536
"""Maximum number of buffered bytes; beyond this, reading pauses and the engine has to wait."""


class Refusal(Exception):
    """The engine responded with a status other than 200.

    Args:
        body: The response body.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


async def lines(socket: Path, path: str, body: Any) -> AsyncGenerator[bytes]:
    """Post a body as JSON and yield the lines of the response; closing this disconnects.

    Raises:
        Refusal: The status is not 200.
        OSError: No process is listening, or the connection broke.
        TimeoutError: The engine does not respond, or stopped responding.
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
    """Data received but not yet consumed. One timer bounds the silence, not one per read."""

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
        """Keep the transport, to pause the engine if the reader is slow."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Store received data."""
        self._heard = self._loop.time()
        self._came.append(data)
        self._held += len(data)
        if self._held > MOST_HELD_BYTES:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the end of the response."""
        self._ended, self._broken = True, self._broken or exc
        self._wake()

    async def head(self) -> bool:
        """Parse the head; return False if more data is needed."""
        head, found, rest = self.rest.partition(b"\r\n\r\n")
        if not found:
            if not await self.more():
                raise ConnectionResetError("no whole answer came")
            return False
        self.status, self.rest = head.split(b" ", 2)[1], rest
        return True

    async def more(self) -> bool:
        """Wait for more data and append it to ``rest``; return False at the end."""
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
        """Stop the timer: no reader is waiting any more."""
        self._timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _look(self) -> None:
        left = self._heard + QUIET_SECONDS - self._loop.time()
        if left > 0 or self._held:  # unread data does not count as silence
            self._timer = self._loop.call_later(max(left, 1.0), self._look)
        else:
            self._ended, self._broken = True, TimeoutError()
            self._wake()


def _request(path: str, body: Any) -> bytes:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    head = f"POST {path} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
