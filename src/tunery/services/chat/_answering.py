"""Several models answer one question concurrently, with the same seed, as a stream of events.

Events are plain data for the page. Each has the ``column`` (index of the model) it belongs to:
``loading`` (at once; while it loads also doing, seconds), ``forgot`` (count),
``started`` (num_prompt_tokens, prompt_text), ``text``,
``thought``, ``ended`` (reason, num_tokens, first_token_seconds, seconds), ``error`` (detail, fix).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

from tunery.chat.answers import AnswerReader, Piece, Thought
from tunery.chat.answers import Content as ContentPiece
from tunery.chat.tool_calls import PLAIN
from tunery.engines.base import Delta, Ended, EngineEvent, GenerateRequest, SamplingOptions, Started
from tunery.errors import TuneryError
from tunery.services.chat import _stored
from tunery.services.chat._engines import Target, engine_pool
from tunery.services.chat._stored import Answer, ChatSettings, StoredChat
from tunery.state.marks import mark

Event = dict[str, Any]
LOADING_BEAT_SECONDS = 0.5


async def answer_turn(
    chat: StoredChat, turn: int, columns: Sequence[str], *, go_on: bool = False
) -> AsyncGenerator[Event]:
    """Have models answer one turn, and store the answers, even if they are cut short.

    Args:
        chat: The conversation, including the question.
        turn: Which turn.
        columns: Which of the chat's models answer.
        go_on: Continue answers that were cut off instead of starting over.
    """
    text = next(found.text for found in chat.turns if found.number == turn)
    mark("chatted")
    if len(columns) > 1:
        mark("compared")

    async def one(column: str) -> AsyncGenerator[Event]:
        messages = [*chat.messages(column, turn), {"role": "user", "content": text}]
        begun = _begun(chat, turn, column) if go_on else ""
        heard = _Heard(begun)
        try:
            async with aclosing(answer(column, messages, chat.settings, begun=begun)) as events:
                async for event in events:
                    heard.take(event)
                    yield event
        finally:
            await asyncio.shield(
                asyncio.to_thread(_stored.keep, chat.id, turn, column, heard.answer())
            )

    async with aclosing(_together([one(column) for column in columns])) as events:
        async for event in events:
            yield event | {"column": columns[event["column"]]}


async def answer_once(
    columns: Sequence[str], text: str, settings: ChatSettings
) -> AsyncGenerator[Event]:
    """Have models answer one question outside any conversation; nothing is stored."""
    system = [{"role": "system", "content": settings.system}] if settings.system else []
    messages = [*system, {"role": "user", "content": text}]
    mark("chatted")
    if len(columns) > 1:
        mark("compared")
    answers = [answer(column, messages, settings) for column in columns]
    async with aclosing(_together(answers)) as events:
        async for event in events:
            yield event | {"column": columns[event["column"]]}


async def answer(
    name: str, messages: Sequence[dict[str, str]], settings: ChatSettings, *, begun: str = ""
) -> AsyncGenerator[Event]:
    """Have one model answer a conversation; a failure is an ``error`` event, not an exception.

    Args:
        name: The model.
        messages: The conversation; its last message is the user's.
        settings: Sampling and limits.
        begun: The beginning of the answer, to be continued.
    """
    yield {"kind": "loading"}
    try:
        loading = asyncio.ensure_future(engine_pool().ready(name))
        try:
            async for event in _until_loaded(name, loading):
                yield event
            target = loading.result()
        finally:
            loading.cancel()  # no effect if it has ended
        async with aclosing(_fitting(target, list(messages), settings, begun)) as events:
            async for event in events:
                yield event
    except TuneryError as error:
        said = {"detail": error.message, "fix": error.fix, "code": error.code}
        yield {"kind": "error", **said, "owner": error.fields.get("owner", "")}


async def _until_loaded(name: str, loading: asyncio.Future[Target]) -> AsyncGenerator[Event]:
    """Say twice a second what a model that is loading does, and for how long."""
    began = time.monotonic()
    while True:
        done, _ = await asyncio.wait({loading}, timeout=LOADING_BEAT_SECONDS)
        if done:
            return
        doing = await engine_pool().loading_step(name)
        yield {"kind": "loading", "doing": doing, "seconds": round(time.monotonic() - began) or 1}


async def _fitting(
    target: Target, messages: list[dict[str, str]], settings: ChatSettings, begun: str
) -> AsyncGenerator[Event]:
    """Generate; if the conversation is too long, leave out the oldest messages."""
    forgot = 0
    while True:
        begins = True
        async with aclosing(_generated(target, messages, settings, begun)) as events:
            try:
                async for event in events:
                    if begins and forgot:
                        yield {"kind": "forgot", "count": forgot}
                    begins = False
                    yield event
                return
            except TuneryError as error:
                first = 1 if messages[0]["role"] == "system" else 0
                if error.code != "too_long" or not begins or len(messages) - first < 3:
                    raise
                del messages[first : first + 2]
                forgot += 2


async def _generated(
    target: Target, messages: list[dict[str, str]], settings: ChatSettings, begun: str
) -> AsyncGenerator[Event]:
    more = [{"role": "assistant", "content": begun}] if begun else []
    request = GenerateRequest(
        messages=[*messages, *more],
        adapter=target.adapter,
        template=target.template,
        max_tokens=settings.max_tokens,
        sampling=SamplingOptions(
            temperature=0.0 if settings.greedy else settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            seed=settings.seed,
        ),
        continue_last=bool(begun),
    )
    reader = AnswerReader(PLAIN)
    generated = cast("AsyncGenerator[EngineEvent]", target.engine.generate(request))
    async with aclosing(generated) as events:
        async for event in events:
            match event:
                case Started():
                    thinks = event.prompt_text.rstrip().endswith("<think>")
                    reader = AnswerReader(PLAIN, in_thinking=thinks)
                    yield {
                        "kind": "started",
                        "num_prompt_tokens": event.num_prompt_tokens,
                        "prompt_text": event.prompt_text,
                    }
                case Delta():
                    for piece in reader.feed(event.text):
                        yield _event_of(piece)
                case Ended():
                    for piece in reader.end():
                        yield _event_of(piece)
                    yield {
                        "kind": "ended",
                        "reason": event.reason,
                        "num_tokens": event.num_tokens,
                        "first_token_seconds": round(event.first_token_seconds, 4),
                        "seconds": round(event.seconds, 4),
                    }


def _event_of(piece: Piece) -> Event:
    if isinstance(piece, Thought):
        return {"kind": "thought", "text": piece.text}
    assert isinstance(piece, ContentPiece)  # no tools were offered, so there are no calls
    return {"kind": "text", "text": piece.text}


class _Heard:
    """What one model has said so far."""

    def __init__(self, begun: str) -> None:
        self._text = begun
        self._thought = ""
        self._facts: dict[str, Any] = {"reason": "interrupted"}

    def take(self, event: Event) -> None:
        match event["kind"]:
            case "text":
                self._text += event["text"]
            case "thought":
                self._thought += event["text"]
            case "error":
                self._facts |= {"error": event["detail"], "fix": event["fix"], "reason": "error"}
                self._facts |= {key: event[key] for key in ("code", "owner") if event.get(key)}
            case "forgot":
                self._facts["forgot"] = event["count"]
            case "started" | "ended":
                self._facts |= {key: value for key, value in event.items() if key != "kind"}
            case _:
                pass

    def answer(self) -> Answer:
        thought = {"thought": self._thought} if self._thought else {}
        return Answer(self._text, {**self._facts, **thought})


def _begun(chat: StoredChat, turn: int, column: str) -> str:
    for found in chat.turns:
        if found.number == turn and column in found.answers:
            return found.answers[column].text
    return ""


async def _together(sources: Sequence[AsyncGenerator[Event]]) -> AsyncGenerator[Event]:
    """Merge event streams as events arrive; closing this closes all of them."""
    queue: asyncio.Queue[Event | None] = asyncio.Queue()

    async def pump(place: int, source: AsyncGenerator[Event]) -> None:
        async with aclosing(source) as events:
            async for event in events:
                queue.put_nowait(event | {"column": place})

    tasks = [asyncio.create_task(pump(i, source)) for i, source in enumerate(sources)]
    for task in tasks:
        task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        left = len(tasks)
        while left:
            item = await queue.get()
            if item is None:
                left -= 1
            else:
                yield item
        for task in tasks:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
