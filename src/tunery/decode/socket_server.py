"""A minimal HTTP server for an engine's Unix socket: one request and one response per connection.

The lines of a stream are written by whichever thread produces them, directly to the socket, so the
generating thread wakes only the client. An event loop in between, with a general-purpose server on
it, took a third of a millisecond per token from the cores that compute.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery.engines import wire
from tunery.errors import EngineError, TuneryError
from tunery.i18n import t

MAX_BODY_BYTES = 8 * 2**20
STATUS = {"queue_full": 429, "too_long": 413}
_REASONS = {200: "OK", 404: "Not Found", 413: "Content Too Large", 422: "Unprocessable Content",
            429: "Too Many Requests"}  # fmt: skip
HEAD_SECONDS = 60.0
"""A client that connects and sends no request is disconnected after this time."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Args:
        body: Parsed JSON; None if there was no body.
        lines: The output of a streamed response.
    """

    body: Any
    lines: Lines


Handler = Callable[[Request], Awaitable[Any]]
"""Returns the response as plain data, or None if it has opened ``lines`` and written to them."""


class Lines:
    """The lines of one streamed response; any thread may write them.

    Args:
        writer: The connection's writer.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        # Our own descriptor: the connection's may be closed and its number reused.
        self._descriptor = os.dup(writer.get_extra_info("socket").fileno())
        self._lock = threading.Lock()
        self._held: list[bytes] | None = []  # until ``open`` confirms a streamed response
        self._slow = False
        self.opened = False

    def open(self, first: bytes) -> None:
        """Start the response with a line; lines written earlier follow it."""
        with self._lock:
            held, self._held = self._held or [], None
            self.opened = True
            self._put(b"".join((_head(200, "application/x-ndjson"), first, *held)))

    def write(self, lines: bytes) -> bool:
        """Send whole lines; False if the client has disconnected."""
        with self._lock:
            if self._held is None:
                return self._put(lines)
            self._held.append(lines)
            return True

    def close(self) -> None:
        """Stop sending."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def _put(self, data: bytes) -> bool:
        if self._descriptor < 0:
            return False
        sent = 0
        if not self._slow:
            with contextlib.suppress(BlockingIOError):
                try:
                    sent = os.write(self._descriptor, data)
                except (BrokenPipeError, ConnectionResetError):
                    return False
            self._slow = sent < len(data)
        if self._slow:  # the client is slow: from now on the event loop sends
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._writer.write, data[sent:])
        return True


async def listen(path: Path, routes: dict[tuple[str, str], Handler]) -> asyncio.Server:
    """Serve on a Unix socket.

    Args:
        path: Path of the socket to create; must not exist.
        routes: Handlers by method and path.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _answer(reader, writer, routes)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # the client has disconnected, or does not speak HTTP
        finally:
            writer.close()

    return await asyncio.start_unix_server(serve, str(path), backlog=512)


async def _answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    routes: dict[tuple[str, str], Handler],
) -> None:
    async with asyncio.timeout(HEAD_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, *_ = [*head[0].split(" "), "", ""]
    handler = routes.get((method, path))
    if handler is None:
        await _tell(writer, 404, {})
        return
    lines = Lines(writer)
    try:
        try:
            body = await _body(reader, head)
            said = await _unless_gone(handler(Request(body, lines)), reader)
        except TuneryError as error:
            if not lines.opened:
                await _tell(writer, STATUS.get(error.code, 422), wire.error_to_dict(error))
            return
        if not lines.opened:
            await _tell(writer, 200, said)
    finally:
        lines.close()
    await writer.drain()


async def _body(reader: asyncio.StreamReader, head: list[str]) -> Any:
    named = dict(line.lower().split(":", 1) for line in head[1:] if ":" in line)
    size = named.get("content-length", "0").strip()
    length = int(size) if size.isdigit() else 0
    if length > MAX_BODY_BYTES:
        raise EngineError(t("The request is larger than 8 MiB."), code="too_long")
    async with asyncio.timeout(HEAD_SECONDS):
        data = await reader.readexactly(length)
    if not data:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise EngineError(t("The request cannot be parsed: {why}", why=error)) from error


async def _unless_gone(work: Awaitable[Any], reader: asyncio.StreamReader) -> Any:
    """Wait for a response; cancel it if the client disconnects."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(reader.read())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ConnectionResetError
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _tell(writer: asyncio.StreamWriter, status: int, plain: Any) -> None:
    data = json.dumps(plain, ensure_ascii=False).encode(errors="replace")
    writer.write(_head(status, "application/json", len(data)) + data)
    await writer.drain()


def _head(status: int, kind: str, length: int | None = None) -> bytes:
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n{size}"
        "Connection: close\r\n\r\n"
    ).encode()
