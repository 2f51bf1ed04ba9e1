"""Messages in the shape that chat templates expect, and what thinking becomes in them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunery.chat.control import Marker, hide_tags
from tunery.types import Message

Thinking = Literal["keep", "strip_history", "off"]

THINKING_VARIABLES: dict[Thinking, dict[str, Any]] = {
    "keep": {
        "enable_thinking": True,
        "thinking": True,
        "preserve_thinking": True,
        "clear_thinking": False,
    },
    # Nothing is said, so that the default is what apply_chat_template gives.
    "strip_history": {},
    "off": {"enable_thinking": False, "thinking": False},
}
"""Template variables for each value of ``data.thinking``."""

_TO_CLOSING = re.compile(r"(?:\s*<think>)?\n?(.*?)\n?</think>\n*", re.DOTALL)
_INLINE = re.compile(r"\s*<think>\n?(.*?)\n?</think>\n*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Shape:
    """How one template wants tool calls and thinking.

    Args:
        arguments_as_text: Arguments of a call as JSON text and not as an object.
        empty_content: The content of a message that only calls tools.
        call_ids: Every call needs an id (mistral: nine letters or digits).
        reads_thinking: The template reads ``reasoning_content``; else thinking is written into
            the content, between think tags.
        splits_thinking: The template takes thinking out of the content by its closing tag, the
            opening one present or not.
        strips_history: The template itself leaves out the thinking of earlier turns.
        keeps_history: It writes the thinking of earlier turns where ``keep`` asks for it.
    """

    arguments_as_text: bool = False
    empty_content: str | None = ""
    call_ids: bool = False
    reads_thinking: bool = False
    splits_thinking: bool = False
    strips_history: bool = False
    keeps_history: bool = True

    def shows_history(self, thinking: Thinking) -> bool:
        """Whether the template is handed the thinking of earlier turns.

        One that reads it as a field and leaves it out itself is, and writes what it always writes
        in its place. In the content a block that is left out would leave its newlines behind.
        """
        if thinking == "keep":
            return self.reads_thinking or self.keeps_history
        return thinking == "strip_history" and self.reads_thinking and self.strips_history


def split_thinking(message: Message, shape: Shape) -> tuple[str | None, str]:
    """Take the thinking of an assistant's message apart from its answer.

    Returns:
        The thinking (from the field, else from a ``<think>`` block that opens the content; None
        where there is none) and the rest of the content.
    """
    if message.thinking is not None:
        return message.thinking, message.content
    inline = (_TO_CLOSING if shape.splits_thinking else _INLINE).match(message.content)
    return (inline.group(1), message.content[inline.end() :]) if inline else (None, message.content)


def to_dicts(
    messages: Sequence[Message],
    shape: Shape,
    thinking: Thinking,
    control: Marker,
) -> list[dict[str, Any]]:
    """Give the messages as a template sees them, control-token spellings marked.

    Args:
        messages: The conversation, from its start.
        shape: What the template wants.
        thinking: ``keep`` leaves it wherever the template writes it; ``strip_history`` leaves it
            in the turn after the last user message only; ``off`` takes it out.
        control: The tokenizer's control tokens.
    """
    last_user = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
    open_calls: list[str] = []
    dicts: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        if message.role == "assistant":
            keep = shape.shows_history(thinking) if index < last_user else thinking != "off"
            item = _assistant(message, shape, control, keep_thinking=keep)
            if message.tool_calls:
                calls = [
                    _call(call, shape, f"call{index % 1000:03d}{number % 100:02d}", control)
                    for number, call in enumerate(message.tool_calls)
                ]
                item["tool_calls"] = calls
                open_calls = [call["id"] for call in calls if "id" in call]
        else:
            item = {"role": message.role, "content": control.mark(message.content)}
            if message.role == "tool":
                answered = open_calls.pop(0) if open_calls else None
                call_id = message.tool_call_id or (answered if shape.call_ids else None)
                if call_id is not None:
                    item["tool_call_id"] = control.mark(call_id)
        if message.name is not None:
            item["name"] = control.mark(message.name)
        dicts.append(item)
    return dicts


def in_parts(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose content is a list with its text, as models with pictures read it."""
    content = message.get("content")
    if not isinstance(content, str):
        return message
    return {**message, "content": [{"type": "text", "text": content}]}


def tool_dicts(tools: Sequence[dict[str, Any]], control: Marker) -> list[dict[str, Any]]:
    """Give tools in the shape ``{"type": "function", "function": {...}}``, bare ones wrapped."""
    return [
        control.mark(tool if "function" in tool else {"type": "function", "function": tool})
        for tool in tools
    ]


def _assistant(
    message: Message, shape: Shape, control: Marker, *, keep_thinking: bool
) -> dict[str, Any]:
    thought, rest = split_thinking(message, shape)
    if shape.splits_thinking:
        rest = hide_tags(rest)
    content, item = rest, {"role": "assistant"}
    if keep_thinking and thought is not None:
        if shape.reads_thinking:
            marked = control.mark(thought, assistant=True)
            item |= {"reasoning_content": marked, "thinking": marked}
        elif message.thinking is None and not shape.splits_thinking:
            content = message.content  # inline, to the letter
        else:
            content = thinking_block(thought) + rest
    item["content"] = control.mark(content, assistant=True)
    if message.tool_calls and not content:
        if shape.empty_content is None:
            del item["content"]
        else:
            item["content"] = shape.empty_content
    return item


def thinking_block(thought: str) -> str:
    """Thinking as part of a content, before the answer."""
    return f"<think>\n{thought}\n</think>\n\n"


def _call(call: Any, shape: Shape, made_up_id: str, control: Marker) -> dict[str, Any]:
    arguments = control.mark(call.arguments, assistant=True)
    if shape.arguments_as_text:
        arguments = json.dumps(arguments, ensure_ascii=False)
    item: dict[str, Any] = {
        "type": "function",
        "function": {
            "name": control.mark(call.name, assistant=True),
            "arguments": arguments,
        },
    }
    call_id = call.id or (made_up_id if shape.call_ids else None)
    return {"id": control.mark(call_id, assistant=True), **item} if call_id else item
