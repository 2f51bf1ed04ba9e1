"""The engine's socket from both ends, without a model: framing, order, refusals, hanging up."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tunery.decode import socket_server
from tunery.decode.socket_server import Handler, Request
from tunery.engines import lines as client
from tunery.engines.lines import Refusal, lines
from tunery.errors import EngineError

PATIENCE = 20.0


@asynccontextmanager
async def listening(tmp_path: Path, handler: Handler) -> AsyncGenerator[Path]:
    socket = tmp_path / "socket"
    server = await socket_server.listen(
        socket, {("POST", "/generate"): handler, ("GET", "/how"): handler}
    )
    try:
        yield socket
    finally:
        server.close()


def run(work: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work, PATIENCE)

    return asyncio.run(bounded())


async def taken(socket: Path, body: Any = None) -> list[bytes]:
    return [line async for line in lines(socket, "/generate", body)]


def from_a_thread(request: Request, written: list[bytes]) -> asyncio.Future[None]:
    """Write as the thread that generates does, and settle when all is out."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def write() -> None:
        for each in written:
            request.lines.write(each)
        loop.call_soon_threadsafe(done.set_result, None)

    threading.Thread(target=write, daemon=True).start()
    return done


def test_lines_written_by_a_thread_come_whole_and_in_order(tmp_path: Path) -> None:
    said = [f"{number} ü\n".encode() * 3 for number in range(50)]

    async def answer(request: Request) -> None:
        done = from_a_thread(request, said)
        await done  # written before the answer has begun: it is held
        request.lines.open(json.dumps(request.body).encode() + b"\n")

    async def check() -> None:
        async with listening(tmp_path, answer) as socket:
            first, *rest = await taken(socket, {"a": "ü"})
            assert json.loads(first) == {"a": "ü"}
            assert rest == b"".join(said).splitlines()

    run(check())


def test_a_slow_asker_gets_every_byte(tmp_path: Path) -> None:
    said = [bytes([97 + number % 26]) * 50_000 + b"\n" for number in range(100)]

    async def answer(request: Request) -> None:
        request.lines.open(b"first\n")
        await from_a_thread(request, said)

    async def check() -> None:
        async with listening(tmp_path, answer) as socket:
            got: list[bytes] = []
            async for line in lines(socket, "/generate", {}):
                if len(got) < 5:
                    await asyncio.sleep(0.05)
                got.append(line + b"\n")
            assert got == [b"first\n", *said]

    run(check())


def test_an_asker_that_does_not_read_holds_the_engine_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    take = client._Answer.data_received

    def watched(answer: client._Answer, data: bytes) -> None:
        take(answer, data)
        held.append(answer._held)

    monkeypatch.setattr(client._Answer, "data_received", watched)

    async def answer(request: Request) -> None:
        request.lines.open(b"first\n")
        await from_a_thread(request, [b"a" * 50_000 + b"\n"] * 200)

    async def check() -> None:
        async with listening(tmp_path, answer) as socket:
            said = lines(socket, "/generate", {})
            assert await anext(said) == b"first"
            await asyncio.sleep(0.3)
            assert max(held) < 2**20  # of ten million bytes
            await said.aclose()

    run(check())


@pytest.mark.parametrize(("code", "status"), [("queue_full", 429), ("too_long", 413), ("", 422)])
def test_a_refusal_has_its_status_and_its_words(tmp_path: Path, code: str, status: int) -> None:
    async def refuse(request: Request) -> None:
        raise EngineError("No.", fix="Wait.", code=code)

    async def check() -> None:
        async with listening(tmp_path, refuse) as socket:
            with pytest.raises(Refusal) as refused:
                await taken(socket)
            assert json.loads(refused.value.body)["message"] == "No."
            transport = httpx.AsyncHTTPTransport(uds=str(socket))
            async with httpx.AsyncClient(transport=transport, base_url="http://engine") as http:
                assert (await http.get("/how")).status_code == status
                assert (await http.get("/nowhere")).status_code == 404

    run(check())


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (f"Content-Length: {socket_server.MAX_BODY_BYTES + 1}", b"", b"413"),
        ("Content-Length: 4", b"{{{{", b"422"),
    ],
)
def test_a_body_that_cannot_be_taken_is_refused(
    tmp_path: Path, head: str, body: bytes, status: bytes
) -> None:
    async def never(request: Request) -> None:
        raise AssertionError

    async def check() -> None:
        async with listening(tmp_path, never) as socket:
            reader, writer = await asyncio.open_unix_connection(str(socket))
            writer.write(f"POST /generate HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
            assert (await reader.readline()).split()[1] == status
            writer.close()

    run(check())


def test_who_hangs_up_ends_the_work_and_the_writer_hears_of_it(tmp_path: Path) -> None:
    async def check() -> None:
        cancelled, heard = asyncio.Event(), asyncio.Event()

        async def answer(request: Request) -> None:
            request.lines.open(b"first\n")
            try:
                while request.lines.write(b"more\n"):
                    await asyncio.sleep(0.01)
                heard.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                assert heard.is_set() or not request.lines.write(b"more\n")
                raise

        async with listening(tmp_path, answer) as socket:
            said = lines(socket, "/generate", {})
            assert await anext(said) == b"first"
            await said.aclose()
            await cancelled.wait()

    run(check())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ConnectionResetError),
        (b"HTTP/1.1 200 OK\r\n", ConnectionResetError),
        (b"HTTP/1.1 200 OK\r\n\r\nwhole\nha", ConnectionResetError),
    ],
)
def test_an_answer_that_breaks_off_is_an_error(
    tmp_path: Path, answer: bytes, error: type[Exception]
) -> None:
    async def check() -> None:
        server = await asyncio.start_unix_server(_saying(answer), str(tmp_path / "socket"))
        with pytest.raises(error):
            await taken(tmp_path / "socket")
        server.close()

    run(check())


def test_a_silent_engine_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "QUIET_SECONDS", 0.2)

    async def silent(request: Request) -> None:
        request.lines.open(b"first\n")
        await asyncio.Event().wait()

    async def check() -> None:
        async with listening(tmp_path, silent) as socket:
            with pytest.raises(TimeoutError):
                await taken(socket)

    run(check())


def _saying(answer: bytes) -> Callable[..., Awaitable[None]]:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return say
