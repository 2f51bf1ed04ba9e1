"""Clients at once against ``tunery serve``: time to the first token, and tokens a second.

    TUNERY_HOME=... python benchmarks/serve_clients.py --model demo --clients 1 16 100 --tokens 32

Every client streams one chat completion over HTTP; the clients share this machine's cores with
the engine. Prints one Markdown row for each number of clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time

import httpx

QUESTIONS = ["Who are you?", "Name three rivers.", "What is bread made of?", "Tell me a story."]


async def one(client: httpx.AsyncClient, model: str, place: int, tokens: int) -> tuple[float, int]:
    """One streamed answer: seconds to its first token, and its tokens."""
    began = time.perf_counter()
    first, count = 0.0, 0
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"{QUESTIONS[place % 4]} ({place})"}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content") and not first:
                first = time.perf_counter() - began
            if chunk.get("usage"):
                count = chunk["usage"]["completion_tokens"]
    return first, count


async def crowd(url: str, key: str, model: str, clients: int, tokens: int) -> str:
    """All clients at once; one row of the table."""
    headers = {"Authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=600, limits=limits, trust_env=False
    ) as client:
        began = time.perf_counter()
        got = await asyncio.gather(*(one(client, model, i, tokens) for i in range(clients)))
        seconds = time.perf_counter() - began
    firsts = sorted(first for first, _ in got)
    p95 = firsts[min(len(firsts) - 1, round(0.95 * len(firsts)))]
    total = sum(count for _, count in got)
    middle = statistics.median(firsts)
    return f"| {clients} | {middle:.2f} | {p95:.2f} | {total / seconds:.0f} | {seconds:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 100])
    parser.add_argument("--tokens", type=int, default=32)
    asked = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = "bench-key-0123456789"
    command = [sys.executable, "-m", "tunery", "serve", asked.model, "--port", str(port)]
    server = subprocess.Popen([*command, "--json", "--api-key", key], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        print(f"{asked.model}, {asked.tokens} tokens each, ready: {sorted(ready)}")
        print("| clients | first token, median s | first token, p95 s | tokens/s | seconds |")
        print("|---|---|---|---|---|")
        url = f"http://127.0.0.1:{port}"
        asyncio.run(crowd(url, key, asked.model, 1, 4))  # warm
        for clients in asked.clients:
            print(
                asyncio.run(crowd(url, key, asked.model, clients, asked.tokens)),
                flush=True,
            )
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
