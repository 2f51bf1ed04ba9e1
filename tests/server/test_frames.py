"""Frames of a stream: what is written from prepared bytes is what the whole object would be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.types import Message

from tunery.chat.answers import AnswerReader
from tunery.chat.tool_calls import PLAIN
from tunery.engines.base import Delta, Ended
from tunery.server.openai import limits
from tunery.server.openai.choices import ChatChoice, Head, TextChoice
from tunery.server.openai.stream import EventStream


def chat() -> ChatChoice:
    return ChatChoice(3, AnswerReader(PLAIN), with_logprobs=False)


@pytest.mark.parametrize("with_usage", [False, True])
@pytest.mark.parametrize("text", ["plain", 'q " \\ \n\t\x00', "ü 你好 🦙", "\ud800", "\u2028[]"])
def test_a_frame_is_the_whole_object(text: str, with_usage: bool) -> None:
    head = Head("chat.completion", 'a"[]', "chat.completion.chunk", with_usage)
    choice = chat()
    chunks = [*choice.begin(), *choice.take(Delta(3, text, (1,)))]
    chunks += choice.finish(Ended(3, "stop", 1, 0.0, 0.0))
    chunks += TextChoice(0, "", with_logprobs=False).take(Delta(0, text, (1,)))
    for chunk in chunks:
        more: dict[str, Any] = {"usage": None} if with_usage else {}
        whole = json.dumps(head.part([chunk], **more), ensure_ascii=False, separators=(",", ":"))
        assert head.frame(chunk) == b"data: " + whole.encode(errors="replace") + b"\n\n"


def streamed(
    lines: AsyncGenerator[bytes], *, stuck: bool = False, ending: asyncio.Event | None = None
) -> list[bytes]:
    """The bodies that a stream sends."""
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])
            if stuck:
                await asyncio.Event().wait()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def closed() -> None:
        sent.append(b"closed")

    async def answer() -> None:
        stream = EventStream(lines, ending, lambda refused: b"broken", closed)
        await asyncio.wait_for(stream({"type": "http"}, receive, send), 10)

    try:
        asyncio.run(answer())
    except TimeoutError:
        sent.append(b"given up")
    return sent


async def after(seconds: float, *said: bytes) -> AsyncGenerator[bytes]:
    for line in said:
        await asyncio.sleep(seconds)
        yield line


def test_a_silence_is_filled_with_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BEAT_SECONDS", 0.1)
    sent = streamed(after(0.35, b"one", b"two"))
    assert [line for line in sent if line != b": beat\n\n"] == [b"one", b"two", b"", b"closed"]
    assert 4 <= sent.count(b": beat\n\n") <= 6
    assert sent[0] == b": beat\n\n"


def test_lines_that_come_in_time_need_no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BEAT_SECONDS", 0.5)
    assert b": beat\n\n" not in streamed(after(0.1, *[b"line"] * 9))


def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_SECONDS", 0.2)
    assert streamed(after(0.0, b"one", b"two"), stuck=True) == [b"one", b"closed", b"given up"]


def test_a_server_that_ends_says_so_and_closes() -> None:
    async def lines(ending: asyncio.Event) -> AsyncGenerator[bytes]:
        yield b"one"
        ending.set()
        await asyncio.Event().wait()

    ending = asyncio.Event()
    assert streamed(lines(ending), ending=ending) == [b"one", b"broken", b"", b"closed"]
