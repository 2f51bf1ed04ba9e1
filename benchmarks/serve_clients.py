"""Measure the cost of HTTP: tokens per second of clients versus the engine's bare forward pass.

    TUNERY_HOME=... python benchmarks/serve_clients.py [--model demo] [--clients 1 16 100]
        [--tokens N] [--rounds N] [--starts N]

The two sides alternate. The bare pass (``serve_speed.generated``) reads the same prompts and
generates the same number of tokens in this process, with the thread settings of an engine process
and the same maximum of concurrent answers. Each client streams one chat completion over its own
socket; it only collects bytes and parses them afterwards, because clients, server and engine share
the cores. Startup is measured first: seconds until ``tunery serve`` is ready, and the memory of
server and engine at that point (PSS: pages shared by processes are counted once).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunery.workers.spinning import SPIN_SHORTLY, settle

QUESTIONS = (
    "Write a long story about a river.", "Explain in detail how bread is made.",
    "Describe a long journey through the mountains.", "Tell me everything about trees.",
)  # fmt: skip
KEY = "bench-key-0123456789"
PLACES = 32
"""Concurrent answers per engine (``scheduler.MAX_ANSWERS``)."""
MIB = 2**20


@dataclass(slots=True)
class Heard:
    """The response of one client.

    Args:
        first: Seconds to the first bytes of text.
        prompt_tokens: Prompt tokens, as counted by the server.
        tokens: Generated tokens, as counted by the server.
        reads: Number of chunks received.
    """

    first: float
    prompt_tokens: int
    tokens: int
    reads: int


class Client(asyncio.Protocol):
    """One request; ``done`` is set when the server closes the connection."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.pieces: list[tuple[float, bytes]] = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        assert isinstance(transport, asyncio.Transport)
        self.began = time.perf_counter()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Store the chunk for later parsing."""
        self.pieces.append((time.perf_counter(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        """Mark the response as complete."""
        if not self.done.done():
            self.done.set_result(None)

    def heard(self) -> Heard:
        """Parse the received response."""
        body = b"".join(data for _, data in self.pieces)
        if not body.startswith(b"HTTP/1.1 200"):
            raise SystemExit(body.decode(errors="replace"))
        usage: dict[str, int] = {}
        for line in body.splitlines():
            if line.startswith(b"data: {"):
                usage = json.loads(line[6:]).get("usage") or usage
        said = (when for when, data in self.pieces if b'"content":"' in data and _says(data))
        first = next(said, self.pieces[-1][0])
        return Heard(
            first - self.began, usage["prompt_tokens"], usage["completion_tokens"],
            len(self.pieces),
        )  # fmt: skip


def _says(data: bytes) -> bool:
    return data.count(b'"content":"') > data.count(b'"content":""')


@dataclass(slots=True)
class Serving:
    """A running ``tunery serve``.

    Args:
        port: The port it listens on.
        process: The server process.
        ready_seconds: Seconds from starting the command to its ``ready`` message.
        engines: Process ids of its engines.
    """

    port: int
    process: subprocess.Popen[bytes]
    ready_seconds: float
    engines: list[int] = field(default_factory=list[int])

    def memory(self) -> tuple[float, float]:
        """PSS of the server and its engines, in MiB."""
        return _pss(self.process.pid), sum(map(_pss, self.engines))

    def seconds(self) -> tuple[float, float]:
        """CPU seconds used so far by the server and its engines."""
        return _cpu(self.process.pid), sum(map(_cpu, self.engines))


@contextlib.contextmanager
def serving(model: str) -> Generator[Serving]:
    """Start ``tunery serve`` on a free port and stop it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    words = ["serve", model, "--port", str(port), "--json", "--api-key", KEY]
    process = subprocess.Popen([sys.executable, "-m", "tunery", *words], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said or json.loads(said).get("type") != "ready":
            raise SystemExit(f"tunery serve: {said.decode()}")
        yield Serving(port, process, time.perf_counter() - began, _children(process.pid))
    finally:
        process.terminate()
        process.wait()


def request(model: str, question: str, tokens: int) -> bytes:
    """The raw HTTP request for one streamed chat completion."""
    body = json.dumps({
        "model": model, "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens, "temperature": 0, "stream": True,
        "stream_options": {"include_usage": True},
    }).encode()  # fmt: skip
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode() + b"\r\n" + body


async def crowd(port: int, asked: Sequence[bytes]) -> tuple[float, list[Heard]]:
    """Run all clients at once; return the seconds until the last answer, and all responses."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    pairs = [
        loop.create_connection(lambda each=each: Client(each), "127.0.0.1", port) for each in asked
    ]
    clients = [client for _, client in await asyncio.gather(*pairs)]
    await asyncio.gather(*(client.done for client in clients))
    seconds = time.perf_counter() - began
    return seconds, [client.heard() for client in clients]


def questions(clients: int) -> list[str]:
    """A distinct question for each client."""
    return [f"{QUESTIONS[i % len(QUESTIONS)]} ({i})" for i in range(clients)]


class Bare:
    """The engine's forward pass alone, in this process."""

    def __init__(self, name: str) -> None:
        from tunery.decode.served import ServedModel
        from tunery.models.ensure import ensure

        self.model = ServedModel(ensure(name).path)
        if self.model.fast is None:
            raise SystemExit(f"{name}: the fast pass does not read it, so there is no bare pass")

    def rate(self, asked: Sequence[str], tokens: int) -> tuple[float, int]:
        """Tokens per second, and the total number of prompt tokens."""
        from serve_speed import generated  # pyright: ignore[reportMissingImports]

        from tunery.decode.prompts import read_prompt
        from tunery.engines.base import GenerateRequest

        prompts = [
            read_prompt(
                self.model, GenerateRequest(messages=[{"role": "user", "content": text}]), None
            ).ids
            for text in asked
        ]
        assert self.model.fast is not None
        began = time.perf_counter()
        generated(self.model.fast, prompts, tokens, places=PLACES)
        seconds = time.perf_counter() - began
        return len(asked) * tokens / seconds, sum(map(len, prompts))


def main() -> None:
    """Print the startup measurements, then a row for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 100])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=3)
    asked = parser.parse_args()
    settle(SPIN_SHORTLY)  # as in an engine process
    print(
        f"{asked.model}, {asked.tokens} tokens an answer, {asked.rounds} rounds by turns, "
        f"{os.cpu_count()} cores, {SPIN_SHORTLY}, load {_load()}"
    )
    starts(asked.model, asked.starts)
    with serving(asked.model) as server:
        bare = Bare(asked.model)
        print(
            "| clients | bare pass, tokens/s | HTTP, tokens/s | ratio (range) | first token, s: "
            "median, p95 | CPU µs a token: server, engine | load |"
        )
        print("|---|---|---|---|---|---|---|")
        for clients in asked.clients:
            print(row(server, bare, clients, asked), flush=True)
        own, theirs = server.memory()
        print(f"\nmemory afterwards: server {own:.0f} MiB, engine {theirs:.0f} MiB")


def starts(model: str, count: int) -> None:
    """Start the server ``count`` times, after one warm-up start, and print the medians."""
    seconds: list[float] = []
    owns: list[float] = []
    theirs: list[float] = []
    for number in range(count + 1 if count else 0):
        with serving(model) as server:
            own, their = server.memory()
        if number:
            seconds.append(server.ready_seconds)
            owns.append(own)
            theirs.append(their)
    if seconds:
        own, their = statistics.median(owns), statistics.median(theirs)
        both = f"{own + their:.0f} MiB (server {own:.0f}, engine {their:.0f})"
        each = ", ".join(f"{value:.2f}" for value in seconds)
        print(f"ready after {statistics.median(seconds):.2f} s ({each}), memory {both}\n")


def row(server: Serving, bare: Bare, clients: int, asked: Any) -> str:
    """Alternate the bare pass and the clients and return a row; the first round warms up."""
    texts = questions(clients)
    wire = [request(asked.model, text, asked.tokens) for text in texts]
    engine: list[float] = []
    http: list[float] = []
    firsts: list[float] = []
    spent = [0.0, 0.0]
    told = 0
    for number in range(asked.rounds + 1):
        rate, prompt_tokens = bare.rate(texts, asked.tokens)
        before = server.seconds()
        seconds, heard = asyncio.run(crowd(server.port, wire))
        after = server.seconds()
        tokens = sum(each.tokens for each in heard)
        if tokens != clients * asked.tokens or prompt_tokens != sum(h.prompt_tokens for h in heard):
            raise SystemExit("some answers ended early: the two sides did not do the same work")
        if number:
            engine.append(rate)
            http.append(tokens / seconds)
            firsts += [each.first for each in heard]
            told += tokens
            spent = [s + b - a for s, a, b in zip(spent, before, after, strict=True)]
    ratios = sorted(theirs / ours for theirs, ours in zip(http, engine, strict=True))
    firsts.sort()
    p95 = firsts[min(len(firsts) - 1, round(0.95 * len(firsts)))]
    own, their = (1e6 * value / told for value in spent)
    return (
        f"| {clients} | {statistics.median(engine):.0f} | {statistics.median(http):.0f} "
        f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) "
        f"| {statistics.median(firsts):.2f}, {p95:.2f} | {own:.0f}, {their:.0f} | {_load()} |"
    )


def _children(pid: int) -> list[int]:
    files = Path(f"/proc/{pid}/task").glob("*/children")  # one file per thread
    return [int(each) for file in files for each in file.read_text().split()]


def _pss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / MIB
    return 0.0


def _cpu(pid: int) -> float:
    """CPU seconds used by all threads of a process."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
