"""Timeouts and limits for connections: uvicorn's HTTP protocol with deadlines.

uvicorn waits forever for a request's headers, for a body, and for a client that does not read
(measured: 300 half-sent requests, all still open after 30 s). Here every wait has a deadline, which
a trickle of bytes does not extend, and each address has a maximum number of connections.
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
"""A body that arrives faster than this may take as long as it needs."""

CHECK_SECONDS = 1.0
"""Maximum interval between checks of a connection's deadlines."""

UNSENT_BYTES = 16 * 1024
"""Maximum number of bytes waiting here and in the kernel for a client that does not read, each.

The kernel's own buffer grows to megabytes, minutes of a stream that nobody reads. Only unsent data
is limited, so that a fast client on a high-latency connection is not slowed down.
"""

WANTED_FILES = 4096
KEPT_FILES = 32
"""Open files other than connections: logs, databases, the event loop's own, workers' pipes."""

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
        limits: How many there may be. Loopback stands for all tunnels and proxies at once, so only
            the total limit applies to it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.most = min(limits.connections, room_for_connections())
        self._open: Counter[str] = Counter()
        self._told = -math.inf

    def enter(self, address: str) -> bool:
        """Count one more connection if the limits allow it."""
        if self._open.total() >= self.most:
            self.tell()
            return False
        if not _is_loopback(address) and self._open[address] >= self.limits.per_address:
            return False
        self._open[address] += 1
        return True

    def tell(self) -> None:
        """Log that connections are being refused, at most once per minute."""
        now = time.monotonic()
        if now - self._told >= TOLD_SECONDS:
            self._told = now
            _log.warning(
                "connections are refused: %d are open, at most %d are taken (ulimit -n: %d)",
                self.total(), self.most, _files(),
            )  # fmt: skip

    def quiet(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle event loop exceptions: a system out of file descriptors is logged as above.

        asyncio tries for every waiting connection, and logs a traceback each time.
        """
        if isinstance(error := context.get("exception"), OSError) and error.errno in _NONE_LEFT:
            self.tell()
        else:
            loop.default_exception_handler(context)

    def total(self) -> int:
        """Number of open connections."""
        return self._open.total()

    def leave(self, address: str) -> None:
        """Count one connection less."""
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 with a deadline for every wait. ``limits`` and ``open`` are set before the start."""

    limits: Limits
    open: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it if a limit is reached."""
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
        """Remove a connection from the count."""
        if self._entered:
            self.open.leave(self._address)
            self._entered = False
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received data."""
        if not self._entered:
            return
        self._received += len(data)
        super().data_received(data)
        self._look()

    def pause_writing(self) -> None:
        """Called when the client does not read."""
        self._stalled = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Called when the client reads again."""
        self._stalled = None
        super().resume_writing()

    def _look(self) -> None:
        """Note what the connection is waiting for, and since when."""
        if self.conn.their_state is h11.SEND_BODY:
            state = "body"
        elif self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
            state = "headers"  # between requests uvicorn's own timer applies
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
    """How many connections the limit of open files allows.

    Each may open a second one, to an engine. The soft limit is raised first if possible.
    """
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max((_files() - KEPT_FILES) // 2, 1)


def _files() -> int:
    """Maximum number of open files of this process."""
    if resource is None:
        return WANTED_FILES
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return WANTED_FILES if soft == resource.RLIM_INFINITY else soft


def bound_unsent(sock: socket.socket | None) -> None:
    """Limit the unsent data in the kernel to ``UNSENT_BYTES``."""
    option = _UNSENT_OPTION.get(sys.platform)
    if sock is not None and option is not None:
        with contextlib.suppress(OSError):  # not TCP, or unsupported: its buffer is larger
            sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
