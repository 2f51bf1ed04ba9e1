"""A real server on a loopback port, in a thread of the test, for what only a socket can show."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace

from fastapi import FastAPI
from tests.waiting import PATIENCE_SECONDS

from tunery.server import run
from tunery.server.app import create_app
from tunery.server.settings import ServerSettings


@contextlib.contextmanager
def listening(settings: ServerSettings, app: FastAPI | None = None) -> Generator[Server]:
    """Serve an application, by default the API alone, until the block ends."""
    listener = run.listen(replace(settings, port=0))
    server = run.make_server(app or create_app(settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Server(listener.getsockname()[1], server.config.app)  # type: ignore[arg-type]
    finally:
        server.handle_exit(2, None)
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


class Server:
    """Where it listens."""

    def __init__(self, port: int, app: FastAPI) -> None:
        self.port = port
        self.app = app
        self.auth = f"Authorization: Bearer {app.state.token.token()}"

    def connect(self, *, receive_bytes: int | None = None) -> socket.socket:
        """Open a connection."""
        sock = socket.socket()
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def ask(self, request: bytes) -> bytes:
        """Send bytes and read until the server closes."""
        with self.connect() as sock:
            with contextlib.suppress(ConnectionError):  # it may refuse before it has read all
                sock.sendall(request)
            return everything(sock)

    def head(self, first: str, *headers: str, host: str | None = "127.0.0.1") -> bytes:
        """The head of a request that closes the connection."""
        lines = [first, *([f"Host: {host}"] if host is not None else [])]
        return "\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode()


def everything(sock: socket.socket) -> bytes:
    """Read until the other side closes or cuts the connection."""
    return b"".join(_pieces(sock))


def _pieces(sock: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65536):
            yield piece


def status(answer: bytes) -> int:
    """The status of an answer; 0 where the connection was cut."""
    return int(answer.split()[1]) if answer else 0
