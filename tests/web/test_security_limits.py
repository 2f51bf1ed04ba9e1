"""Sizes, depths, times and numbers of connections, over real sockets."""

from __future__ import annotations

import json
import re
import resource
from dataclasses import replace

import pytest
from fastapi import APIRouter, Request
from pydantic import BaseModel
from tests.waiting import PATIENCE_SECONDS, until
from tests.web.listening import everything, listening, status

from tunery.server.app import create_app
from tunery.server.security import limits as limits_module
from tunery.server.security.protocol import Connections
from tunery.server.settings import Limits, ServerSettings

SHORT = Limits(header_seconds=0.2, body_seconds=0.2, idle_seconds=1, stall_seconds=0.2)


class Toy(BaseModel):
    text: str = ""


router = APIRouter(prefix="/api/v1/toys")


@router.post("")
def echo(toy: Toy) -> int:
    return len(toy.text)


@router.put("/raw")
async def raw(request: Request) -> int:
    return sum([len(piece) async for piece in request.stream()])


@router.get("/much")
def much() -> str:
    return "x" * 2**24


@pytest.fixture
def server(home):
    settings = ServerSettings()
    with listening(settings, create_app(settings, routers=[router], api=())) as server:
        yield server


@pytest.fixture
def short(home):
    with limited(SHORT) as server:
        yield server


def limited(limits: Limits):
    """A server with these limits."""
    settings = ServerSettings(limits=limits)
    return listening(settings, create_app(settings, routers=[router], api=()))


def post(server, body: bytes, *headers: str) -> bytes:
    head = server.head(
        "POST /api/v1/toys HTTP/1.1", server.auth, "Content-Type: application/json", *headers
    )
    return server.ask(head + body)


def test_a_json_body_of_eight_mebibytes_is_taken_and_one_byte_more_is_not(server):
    fits = json.dumps({"text": "x" * (2**23 - 12)}).encode()
    assert len(fits) == 2**23
    assert status(post(server, fits, f"Content-Length: {2**23}")) == 200
    assert status(post(server, fits + b" ", f"Content-Length: {2**23 + 1}")) == 413


def test_a_body_without_a_length_is_counted_while_it_comes(server):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = post(server, piece * 300, "Transfer-Encoding: chunked")  # 19 MiB, never ended
    assert status(answer) == 413
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024  # KiB; this process also holds what it sends


def test_a_huge_length_is_refused_before_the_body(server):
    assert status(post(server, b"", "Content-Length: 314572800")) == 413
    assert status(post(server, b"", "Content-Length: 99999999999999999999")) in (400, 413)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"[" * 64 + b"]" * 64, 422),
        (b"[" * 65 + b"]" * 65, 400),
        (b"[" * 200_000, 400),
        (b'{"a":' * 200_000, 400),
        (b'{"text":"' + b"[" * 200 + b'"}', 200),
        (b'{"text":"\\"' + b"[" * 200 + b'"}', 200),
        (b'{"text": "' + b"[" * 100_000, 422),
        (b"{}" + b"[" * 100, 400),
        (b"1" * 5000, 422),
        (b"\xff\xfe", 422),
        (b'{"text": "\\ud800"}', 400),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json_may_nest_sixty_four_levels(server, body, wanted):
    answer = post(server, body, f"Content-Length: {len(body)}")
    assert status(answer) in {wanted, 400 if wanted == 422 else wanted}


def test_a_million_keys_are_no_trouble(server):
    body = b"{" + b",".join(b'"%d":1' % n for n in range(600_000)) + b"}"
    assert status(post(server, body, f"Content-Length: {len(body)}")) == 200


def test_a_compressed_body_is_refused(server):
    answer = post(server, b"x", "Content-Length: 1", "Content-Encoding: gzip")
    assert status(answer) == 415


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Content-Length: -1"],
        ["Content-Length: 1_0"],
        ["Content-Length: 0x10"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Bad Header: 1"],
        ["X: a\x00b"],
    ],
    ids=str,
)
def test_a_request_that_can_be_read_in_two_ways_is_refused(server, headers):
    assert status(post(server, b"0\r\n\r\n", *headers)) in (400, 501)


def test_large_headers_are_refused_however_they_come(server):
    wide = server.head("GET /healthz HTTP/1.1", f"X-Wide: {'x' * 33_000}")
    many = server.head("GET /healthz HTTP/1.1", *(f"X-{n}: {'y' * 40}" for n in range(800)))
    long = server.head(f"GET /healthz?{'z' * 33_000} HTTP/1.1")
    for request in (wide, many, long):
        assert status(server.ask(request)) in (400, 431)
    with server.connect() as sock:
        for piece in range(0, len(wide), 500):
            try:
                sock.sendall(wide[piece : piece + 500])
            except ConnectionError:
                break
        assert status(everything(sock)) in (0, 400, 431)


def test_half_sent_headers_are_cut_off(short):
    socks = [short.connect() for _ in range(50)]
    for sock in socks:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    for sock in socks:
        assert status(everything(sock)) in (0, 408)
        sock.close()
    # On a busy machine this one may be too slow as well, and is cut off like them.
    until(lambda: status(short.ask(short.head("GET /healthz HTTP/1.1"))) == 200)


def test_a_drip_of_bytes_does_not_move_the_deadline(short):
    with short.connect() as sock:
        sock.settimeout(0.05)
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        for _ in range(int(PATIENCE_SECONDS / 0.05)):
            try:
                sock.sendall(b"X: y\r\n")
                if not sock.recv(100):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("still open")


def test_silent_connections_are_closed(short):
    with short.connect() as sock:
        assert everything(sock) == b""


def test_a_slow_body_is_cut_off(short):
    with short.connect() as sock:
        head = "POST /api/v1/toys HTTP/1.1"
        sock.sendall(
            short.head(head, short.auth, "Content-Type: application/json", "Content-Length: 100")
        )
        sock.sendall(b'{"text":')
        assert status(everything(sock)) in (0, 408)


def test_an_idle_connection_is_closed_and_a_used_one_lives(home):
    with limited(replace(Limits(), idle_seconds=2)) as server, server.connect() as sock:
        for _ in range(3):
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += sock.recv(65536)
        assert everything(sock) == b""


def test_a_client_that_does_not_read_is_cut_off(home):
    with (
        limited(replace(Limits(), stall_seconds=0.2)) as server,
        server.connect(receive_bytes=4096) as sock,
    ):
        sock.sendall(server.head("GET /api/v1/toys/much HTTP/1.1", server.auth))
        connections = server.app.state.connections
        assert sock.recv(1)
        until(lambda: not connections.total())
        assert len(everything(sock)) < 2**24


def test_an_address_has_a_number_of_connections():
    connections = Connections(Limits(connections=5, per_address=2))
    assert [connections.enter("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert [connections.enter("127.0.0.1") for _ in range(4)] == [True, True, True, False]
    connections.leave("10.0.0.1")
    assert connections.enter("10.0.0.1")
    assert connections.total() == 5


def test_a_connection_too_many_is_told_so(home):
    settings = ServerSettings(limits=replace(Limits(), connections=2))
    with listening(settings) as server:
        held = [server.connect() for _ in range(2)]
        for sock in held:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"200 OK" in sock.recv(65536)
        refused = server.ask(server.head("GET /healthz HTTP/1.1"))
        assert status(refused) in (0, 503)
        for sock in held:
            sock.close()


def test_raw_bytes_go_only_where_they_are_declared(server, monkeypatch):
    request = server.head(
        "PUT /api/v1/toys/raw HTTP/1.1", server.auth,
        "Content-Type: application/octet-stream", "Transfer-Encoding: chunked",
    )  # fmt: skip
    body = b"10000\r\n" + b"\0" * 0x10000 + b"\r\n"
    assert status(server.ask(request + body + b"0\r\n\r\n")) == 415
    declared = ("PUT", re.compile("/api/v1/toys/raw"), 5 * 0x10000)
    monkeypatch.setattr(limits_module, "RAW_ROUTES", [declared])
    answer = server.ask(request + body * 5 + b"0\r\n\r\n")
    assert status(answer) == 200
    assert answer.endswith(b"327680")
    assert status(server.ask(request + body * 6 + b"0\r\n\r\n")) == 413
