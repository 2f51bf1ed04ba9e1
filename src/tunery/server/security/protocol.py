"""Time and room for connections: uvicorn's HTTP protocol with deadlines.

uvicorn waits for ever for a request's headers, for a body, and for a client that does not read
(measured: 300 half-sent requests, all still open after 30 s). Here every wait has an end, which a
drip of bytes does not move, and an address has a number of connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import math
import socket
import sys
import time
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tunery.server.settings import Limits

try:
    import resource
except ImportError:  # Windows
    resource = None

BYTES_A_SECOND = 1024
"""A body that comes faster than this may take as long as it needs."""

CHECK_SECONDS = 1.0
"""How often a connection's deadlines are looked at, at most."""

UNSENT_BYTES = 16 * 1024
"""Most bytes that wait here and in the kernel for a client that does not read, each.

The kernel's own buffer grows to megabytes, minutes of a stream that nobody reads. Only what is not
sent yet is bounded, so that a fast client on a long line is not slowed down.
"""

WANTED_FILES = 4096
KEPT_FILES = 32
"""Open files that are no connections: logs, databases, the loop's own, workers' pipes."""

TOLD_SECONDS = 60.0
_NONE_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_log = logging.getLogger("tunery.server")

_UNSENT_OPTION = {"linux": 25, "darwin": 0x201}  # TCP_NOTSENT_LOWAT

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


class Connections:
    """Counts open connections, by address.

    Args:
        limits: How many there may be. Loopback is every tunnel and proxy at once: only the whole
            number holds for it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.most = min(limits.connections, room_for_connections())
        self._open: Counter[str] = Counter()
        self._told = -math.inf

    def enter(self, address: str) -> bool:
        """Count one more, if there is room."""
        if self._open.total() >= self.most:
            self.tell()
            return False
        if not _is_loopback(address) and self._open[address] >= self.limits.per_address:
            return False
        self._open[address] += 1
        return True

    def tell(self) -> None:
        """Log that connections are refused, once a minute however many there are."""
        now = time.monotonic()
        if now - self._told >= TOLD_SECONDS:
            self._told = now
            _log.warning(
                "connections are refused: %d are open, at most %d are taken (ulimit -n: %d)",
                self.total(), self.most, _files(),
            )  # fmt: skip

    def quiet(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle a loop's exceptions: a system without a file left is told as above.

        asyncio tries for every connection that waits, and logs a traceback each time.
        """
        if isinstance(error := context.get("exception"), OSError) and error.errno in _NONE_LEFT:
            self.tell()
        else:
            loop.default_exception_handler(context)

    def total(self) -> int:
        """How many are open."""
        return self._open.total()

    def leave(self, address: str) -> None:
        """Count one less."""
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 with an end to every wait. ``limits`` and ``open`` are set before the start."""

    limits: Limits
    open: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it where there is no room."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else "unknown"
        self._entered = self.open.enter(self._address)
        self._since = self.loop.time()
        self._received = 0
        self._waits_for: str = ""
        self._stalled: float | None = None
        self._pause = min(CHECK_SECONDS, self.limits.header_seconds / 4)
        self._timer: asyncio.TimerHandle | None = None
        if not self._entered:
            transport.write(_FULL)
            transport.close()
            return
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        bound_unsent(transport.get_extra_info("socket"))
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        if self._entered:
            self.open.leave(self._address)
            self._entered = False
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if not self._entered:
            return
        self._received += len(data)
        super().data_received(data)
        self._look()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._stalled = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stalled = None
        super().resume_writing()

    def _look(self) -> None:
        """Note what the connection waits for, and since when."""
        if self.conn.their_state is h11.SEND_BODY:
            state = "body"
        elif self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
            state = "headers"  # at rest between requests uvicorn's own timer runs
        else:
            state = ""
        if state != self._waits_for:
            self._waits_for, self._since, self._received = state, self.loop.time(), 0

    def _watch(self) -> None:
        self._look()
        now = self.loop.time()
        waited = now - self._since
        stalled = now - self._stalled if self._stalled is not None else 0.0
        allowed = {
            "headers": self.limits.header_seconds,
            "body": self.limits.body_seconds + self._received / BYTES_A_SECOND,
        }.get(self._waits_for, float("inf"))
        if waited > allowed or stalled > self.limits.stall_seconds:
            self.transport.abort()
            return
        self._timer = self.loop.call_later(self._pause, self._watch)


def room_for_connections() -> int:
    """How many connections the limit of open files leaves room for.

    Each may open a second one, to an engine. Where the limit is soft it is raised first.
    """
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max((_files() - KEPT_FILES) // 2, 1)


def _files() -> int:
    """Most open files of this process."""
    if resource is None:
        return WANTED_FILES
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return WANTED_FILES if soft == resource.RLIM_INFINITY else soft


def bound_unsent(sock: socket.socket | None) -> None:
    """Let the kernel take no more than ``UNSENT_BYTES`` that it cannot send yet."""
    option = _UNSENT_OPTION.get(sys.platform)
    if sock is not None and option is not None:
        with contextlib.suppress(OSError):  # no TCP, or a kernel without it: its buffer is larger
            sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
