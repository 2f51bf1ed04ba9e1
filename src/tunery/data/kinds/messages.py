"""Shared handling of messages in all kinds: their texts, content and display."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tunery.config.data import LossOn
from tunery.env import clipped
from tunery.types import Conversation, Message, ToolCall, is_list, is_object

Change = Callable[[str], str]


def texts(messages: Iterable[Message]) -> Iterator[str]:
    """Every text of messages: content, thinking, and strings in call arguments."""
    for message in messages:
        yield message.content
        if message.thinking:
            yield message.thinking
        for call in message.tool_calls:
            yield from _strings(call.arguments)


def with_texts(messages: tuple[Message, ...], change: Change) -> tuple[Message, ...]:
    """Change every text; returns the same tuple if nothing changes."""
    changed = tuple(_changed(message, change) for message in messages)
    if all(new is old for new, old in zip(changed, messages, strict=True)):
        return messages
    return changed


def content(messages: Iterable[Message]) -> list[Any]:
    """The content of messages as plain JSON, equal for duplicates."""
    return [
        [m.role, m.content, m.thinking, m.tool_call_id, m.name]
        + [[call.name, call.arguments] for call in m.tool_calls]
        for m in messages
    ]


def shown(messages: Iterable[Message], most: int) -> list[dict[str, Any]]:
    """Messages as plain data for the page, with texts of at most ``most`` characters."""
    return [
        {
            "role": message.role,
            "content": clipped(message.content, most),
            "calls": [call.name for call in message.tool_calls],
        }
        for message in messages
    ]


def depends_on_template(conversation: Conversation) -> bool:
    """Whether a conversation contains parts that many chat templates do not support."""
    spoken = [message for message in conversation.messages if message.role != "system"]
    return (
        bool(conversation.tools)
        or any(message.tool_calls or message.role == "tool" for message in spoken)
        or (bool(spoken) and spoken[0].role == "assistant")
    )


def trains(conversation: Conversation, loss_on: LossOn) -> bool:
    """Whether any message is trained, by ``data.loss_on`` and the messages' own ``train``."""
    spoken = conversation.messages
    if any(message.train is True for message in spoken):
        return True
    if loss_on == "all":
        return any(message.train is not False for message in spoken)
    if loss_on == "last":
        last = last_answer(spoken)
        return last is not None and spoken[last].train is not False
    return any(m.role == "assistant" and m.train is not False for m in spoken)


def last_answer(messages: Sequence[Message]) -> int | None:
    """Index of the last assistant message; None if there is none."""
    found = (i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "assistant")
    return next(found, None)


def _changed(message: Message, change: Change) -> Message:
    content = change(message.content)
    thinking = change(message.thinking) if message.thinking else message.thinking
    calls = tuple(_changed_call(call, change) for call in message.tool_calls)
    if content == message.content and thinking == message.thinking and calls == message.tool_calls:
        return message
    return replace(message, content=content, thinking=thinking, tool_calls=calls)


def _changed_call(call: ToolCall, change: Change) -> ToolCall:
    def walk(value: object) -> object:
        if isinstance(value, str):
            return change(value)
        if is_list(value):
            return [walk(item) for item in value]
        if is_object(value):
            return {key: walk(item) for key, item in value.items()}
        return value

    return replace(call, arguments={key: walk(item) for key, item in call.arguments.items()})


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif is_list(value):
        for item in value:
            yield from _strings(item)
    elif is_object(value):
        for item in value.values():
            yield from _strings(item)
