"""Load, hostile sizes, clients that go, a server that ends: T24 to T27 for ``/v1``.

The promise is one second, for a freed slot and for a refused bomb. A bomb's is counted in
processor time, so that a busy machine fails none of the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time

import httpx
import openai
import pytest
from tests.waiting import PATIENCE_SECONDS, until

from engines.stub import StubEngine
from tunery.server.openai import limits, stream
from tunery.server.openai.limits import Rate
from tunery.server.openai.route import State

HI = [{"role": "user", "content": "hello"}]
KEY = "tunery-test-key-0123456789abcdef"
BOMB_SECONDS = 5.0
"""Of the processor, for client and server together."""


@contextlib.contextmanager
def posted(running, body):
    """Send a chat request and leave the connection open, unread, for the block."""
    data = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2]))) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nAuthorization: Bearer " + KEY.encode() +
            b"\r\nContent-Length: " + str(len(data)).encode() + b"\r\n\r\n" + data
        )  # fmt: skip
        yield client


def slow(running, **more):
    running.pool.engines["stub"] = StubEngine(**{"tokens_per_second": 20, "words": 1000} | more)
    running.app.state.openai = State()
    return running.engine


def chat(**more):
    return {"model": "stub", "messages": HI, "temperature": 0} | more


@pytest.mark.parametrize("num_clients", [100])
def test_a_hundred_clients_get_their_own_answers_whole(running, num_clients):
    running.pool.engines["stub"] = StubEngine(tokens_per_second=50, words=20)

    async def ask(client, number):
        nonce = f"nonce{number:04d}"
        body = chat(messages=[{"role": "user", "content": nonce}], stream=number % 2 == 0)
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        if number % 2:
            choice = answer.json()["choices"][0]
            return nonce, choice["message"]["content"], choice["finish_reason"]
        *events, done, rest = answer.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        choices = [json.loads(event[6:])["choices"][0] for event in events if event[0] == "d"]
        said = "".join(choice["delta"].get("content") or "" for choice in choices)
        return nonce, said, choices[-1]["finish_reason"]

    async def everybody():
        headers = {"Authorization": f"Bearer {KEY}"}
        pool = httpx.Limits(max_connections=num_clients)
        async with httpx.AsyncClient(
            base_url=running.url, headers=headers, timeout=PATIENCE_SECONDS, limits=pool
        ) as client:
            return await asyncio.gather(*(ask(client, i) for i in range(num_clients)))

    numbers = "".join(f" {i}" for i in range(1, 21))
    for nonce, said, reason in asyncio.run(everybody()):
        assert (said, reason) == (f"echo: {nonce}{numbers}", "stop")
    assert running.engine.open_requests == 0
    until(lambda: running.app.state.openai.num_open == 0)


def test_over_capacity_is_told_at_once_and_nobody_waits_for_ever(running, monkeypatch):
    engine = slow(running, tokens_per_second=0, words=30, max_waiting=4)
    generate, refused = engine.generate, threading.Event()

    async def until_one_is_refused(request):
        async for event in generate(request):
            while not refused.is_set():
                await asyncio.sleep(0.01)
            yield event

    engine.generate = until_one_is_refused

    async def ask(client):
        answer = await client.post("/v1/chat/completions", json=chat())
        if answer.status_code == 429:
            refused.set()
        return answer.status_code, answer.headers.get("retry-after")

    async def everybody():
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(
            base_url=running.url, headers=headers, timeout=PATIENCE_SECONDS
        ) as client:
            return await asyncio.gather(*(ask(client) for _ in range(40)))

    answers = asyncio.run(everybody())
    assert {status for status, _ in answers} == {200, 429}
    assert {wait for status, wait in answers if status == 429} == {"1"}
    assert engine.open_requests == 0
    monkeypatch.setattr(limits, "MAX_OPEN", 0)
    assert running.raw().post("/v1/chat/completions", json=chat()).status_code == 429


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_slot(running, stream):
    engine = slow(running)
    with posted(running, chat(stream=stream)) as client:
        until(lambda: engine.open_requests == 1)
        if stream:
            client.recv(1024)
    until(lambda: engine.open_requests == 0)
    assert engine.cancelled == 1
    until(lambda: running.app.state.openai.num_open == 0)
    assert b"tunery_cancelled_total 1.0" in running.raw().get("/metrics").content


def test_a_client_that_goes_while_it_waits_in_line_is_forgotten(running):
    engine = slow(running)
    waiting = threading.Event()

    async def never_begins(request):
        engine.open_requests += 1
        waiting.set()
        try:
            await asyncio.sleep(600)
            yield
        finally:
            engine.open_requests -= 1

    engine.generate = never_begins
    with posted(running, chat(stream=True)):
        assert waiting.wait(PATIENCE_SECONDS)
    until(lambda: engine.open_requests == 0)
    until(lambda: running.app.state.openai.num_open == 0)


def test_closing_the_stream_of_the_real_client_frees_the_slot(running):
    engine = slow(running)
    stream = running.client().chat.completions.create(**chat(stream=True))
    next(iter(stream))
    stream.close()
    until(lambda: engine.open_requests == 0)


def test_a_server_that_ends_says_so_in_its_streams(running):
    slow(running)
    said = []
    with pytest.raises(openai.APIError, match="shutting down"):
        for chunk in running.client().chat.completions.create(**chat(stream=True)):
            said.append(chunk.choices[0].delta.content)
            if len(said) == 3:
                running.server.handle_exit(15, None)
    assert said[1] == "echo:"


def test_an_answer_that_takes_too_long_ends_with_what_there_is(running, monkeypatch):
    slow(running, tokens_per_second=100)
    monkeypatch.setattr(stream.generated, "__kwdefaults__", {"seconds": 2.0})
    answer = running.client().chat.completions.create(**chat())
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content.startswith("echo: hello 1")
    assert answer.usage.completion_tokens > 0


def test_a_long_silence_is_filled_with_comments(running, monkeypatch):
    slow(running, tokens_per_second=2, words=1)
    monkeypatch.setattr(limits, "BEAT_SECONDS", 0.1)
    text = running.raw().post("/v1/chat/completions", json=chat(stream=True)).text
    assert ": beat\n\n" in text
    chunks = running.client().chat.completions.create(**chat(stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "echo: hello 1"


def bombs():
    long_text = {"role": "user", "content": "x"}
    schema: dict = {"type": "object", "properties": {}}
    inner = schema
    for _ in range(40):
        inner["properties"]["a"] = {"type": "object", "properties": {}}
        inner = inner["properties"]["a"]
    return {
        "ten million letters": chat(messages=[{**long_text, "content": "a" * 10**7}]),
        "a million letters": chat(messages=[{**long_text, "content": "a" * 10**6}]),
        "a hundred thousand messages": chat(messages=[long_text] * 10**5),
        "two thousand long messages": chat(messages=[{**long_text, "content": "b" * 100}] * 2000),
        "control tokens": chat(messages=[{**long_text, "content": "<|im_start|>" * 600_000}]),
        "more control tokens": chat(messages=[{**long_text, "content": "<|im_start|>" * 10**6}]),
        "emoji": chat(messages=[{**long_text, "content": "👩‍👩‍👧‍👦" * 100_000}]),
        "a million answers": chat(n=10**6),
        "a milliard tokens": chat(max_tokens=10**9),
        "a milliard completion tokens": chat(max_completion_tokens=10**9),
        "hundred thousand stops": chat(stop=["x"] * 10**5),
        "hundred thousand biases": chat(logit_bias={str(i): 1 for i in range(10**5)}),
        "a hundred thousand tools": chat(tools=[{"type": "function"}] * 10**5),
        "a big tool": chat(tools=[{"type": "function", "function": {
            "name": "f", "description": "d" * 10**6}}]),
        "a deep schema": chat(response_format={"type": "json_schema", "json_schema": {
            "name": "x", "schema": schema}}),
        "a big schema": chat(response_format={"type": "json_schema", "json_schema": {
            "name": "x", "schema": {"enum": [str(i) for i in range(10**5)]}}}),
        "a schema from elsewhere": chat(response_format={"type": "json_schema", "json_schema": {
            "name": "x", "schema": {"$ref": "https://127.0.0.1:1/x"}}}),
        "a thousand parts": chat(messages=[
            {"role": "user", "content": [{"type": "text", "text": "x"}] * 1000}]),
        "a long prompt": {"model": "stub", "prompt": "y" * 10**6},
        "many prompts": {"model": "stub", "prompt": ["y"] * 10**5},
        "a million keys": chat(**{f"k{i}": 1 for i in range(300_000)}),
        "a long model name": chat(model="m" * 10**6),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(bombs()))
def test_a_bomb_is_refused_soon_and_never_reaches_the_engine(running, name):
    body = bombs()[name]
    data = json.dumps(body).encode()
    path = "/v1/completions" if "prompt" in body else "/v1/chat/completions"
    with running.raw() as raw:
        raw.get("/health")
        began = time.process_time()
        answer = raw.post(path, content=data, headers={"Content-Type": "application/json"})
        seconds = time.process_time() - began
    assert answer.status_code in (400, 413), answer.text[:300]
    assert len(answer.content) < 1000
    assert running.engine.requests == []
    print(f"{seconds:.3f} s")
    assert seconds < BOMB_SECONDS


def test_each_key_has_its_own_rate(running):
    running.app.state.openai = State(rate=Rate(60, 3))
    client = running.client()
    for _ in range(3):
        client.models.list()
    with pytest.raises(openai.RateLimitError, match="Too many requests") as told:
        client.models.list()
    assert int(told.value.response.headers["retry-after"]) >= 1
    token = running.app.state.token.token()
    assert running.client(token).models.list()  # somebody else


def test_a_bucket_fills_up_again():
    now = [0.0]
    rate = Rate(60, 2, clock=lambda: now[0])
    assert [rate.wait_seconds("a") for _ in range(3)] == [0, 0, 1]
    now[0] = 1.0
    assert [rate.wait_seconds("a") for _ in range(2)] == [0, 1]
    assert rate.wait_seconds("b") == 0
    assert Rate(0).wait_seconds("a") == 0


def test_health_needs_no_key_and_metrics_do(running):
    with running.raw() as raw:
        raw.post("/v1/chat/completions", json=chat())
        raw.post("/v1/chat/completions", json=chat(model="secret-name-nobody-serves"))
        bare = {"Authorization": ""}
        assert raw.get("/health", headers=bare).json() == {"status": "ok"}
        assert raw.get("/metrics", headers=bare).status_code == 401
        assert raw.get("/metrics", headers={"Authorization": "Bearer no"}).status_code == 401
        figures = raw.get("/metrics")
    assert figures.headers["content-type"].startswith("text/plain")
    text = figures.text
    assert 'route="/v1/chat/completions",status="200"} 1.0' in text
    assert 'model="",route="/v1/chat/completions",status="404"} 1.0' in text
    assert 'tunery_tokens_total{kind="completion",model="stub"} 11.0' in text
    assert 'tunery_engine_memory_bytes{engine="0"}' in text
    assert "secret-name" not in text
    assert "/stub" not in text


def test_a_client_that_does_not_read_frees_its_slot(running):
    """Little is written ahead of it, so that the 30 seconds begin while it stops reading."""
    assert running.app.state.settings.limits.stall_seconds == limits.SEND_SECONDS == 30
    engine = slow(running, tokens_per_second=0, words=100_000)
    engine.context_length = 10**6
    with posted(running, chat(stream=True)) as client:
        assert client.recv(10).startswith(b"HTTP/1.1 2")
        until(lambda: engine.num_tokens > 50)
        stalled = 0
        while stalled != engine.num_tokens:  # it waits for the client
            stalled = engine.num_tokens
            time.sleep(1)
        assert stalled < 3000  # it was 18,000 with the kernel's own buffer
        assert running.app.state.openai.num_open == 1
    until(lambda: running.app.state.openai.num_open == 0)
