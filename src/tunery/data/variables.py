"""``{{name}}`` in rows: filling placeholders, and finding the ones left unfilled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tunery.types import Example, Message, Text, ToolCall

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Put the variables' values in their places; other placeholders stay."""
    if "{{" not in text:
        return text
    return PLACEHOLDER.sub(lambda m: variables.get(m.group(1), m.group()), text)


def fill_example(example: Example, variables: Mapping[str, str]) -> Example:
    """Fill every text of an example; the example is returned unchanged where nothing is to fill."""
    if isinstance(example, Text):
        text = fill(example.text, variables)
        return example if text is example.text else replace(example, text=text)
    messages = tuple(_fill_message(message, variables) for message in example.messages)
    return replace(example, messages=messages)


def texts(example: Example) -> Iterator[str]:
    """Every text of an example that a placeholder may stand in."""
    if isinstance(example, Text):
        yield example.text
        return
    for message in example.messages:
        yield message.content
        if message.thinking:
            yield message.thinking


def unfilled(example: Example, variables: Mapping[str, str]) -> set[str]:
    """Names of the placeholders of an example that no variable fills."""
    names: set[str] = set()
    for text in texts(example):
        if "{{" in text:
            names.update(PLACEHOLDER.findall(text))
    return names - variables.keys()


def _fill_message(message: Message, variables: Mapping[str, str]) -> Message:
    content = fill(message.content, variables)
    thinking = fill(message.thinking, variables) if message.thinking else message.thinking
    calls = tuple(_fill_call(call, variables) for call in message.tool_calls)
    if content == message.content and thinking == message.thinking and calls == message.tool_calls:
        return message
    return replace(message, content=content, thinking=thinking, tool_calls=calls)


def _fill_call(call: ToolCall, variables: Mapping[str, str]) -> ToolCall:
    def walk(value: object) -> object:
        if isinstance(value, str):
            return fill(value, variables)
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return value

    return replace(call, arguments={key: walk(item) for key, item in call.arguments.items()})
