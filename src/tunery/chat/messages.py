"""Convert messages to the dicts that chat templates expect, and place their thinking."""

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
    # No variables, so that the result equals the default of apply_chat_template.
    "strip_history": {},
    "off": {"enable_thinking": False, "thinking": False},
}
"""Template variables for each value of ``data.thinking``."""

_TO_CLOSING = re.compile(r"(?:\s*<think>)?\n?(.*?)\n?</think>\n*", re.DOTALL)
_INLINE = re.compile(r"\s*<think>\n?(.*?)\n?</think>\n*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Shape:
    """The form in which one template expects tool calls and thinking.

    Args:
        arguments_as_text: Whether call arguments are JSON text instead of an object.
        empty_content: The content of a message that only calls tools; None for no content.
        call_ids: Whether every call needs an ID (Mistral: nine letters or digits).
        reads_thinking: Whether the template reads ``reasoning_content``; otherwise thinking is
            written into the content, between think tags.
        splits_thinking: Whether the template splits thinking from the content at the closing tag,
            even without an opening tag.
        strips_history: Whether the template removes the thinking of earlier turns.
        keeps_history: Whether the template writes the thinking of earlier turns with ``keep``.
    """

    arguments_as_text: bool = False
    empty_content: str | None = ""
    call_ids: bool = False
    reads_thinking: bool = False
    splits_thinking: bool = False
    strips_history: bool = False
    keeps_history: bool = True

    def shows_history(self, thinking: Thinking) -> bool:
        """Whether the thinking of earlier turns is passed to the template.

        With ``strip_history``, it is passed to a template that reads the field and removes earlier
        thinking itself, so that it writes what it always writes in its place. Thinking in the
        content is not passed, because removing the block would leave its newlines.
        """
        if thinking == "keep":
            return self.reads_thinking or self.keeps_history
        return thinking == "strip_history" and self.reads_thinking and self.strips_history


def split_thinking(message: Message, shape: Shape) -> tuple[str | None, str]:
    """Split an assistant message into its thinking and its answer.

    Returns:
        The thinking (from the field, otherwise from a ``<think>`` block at the start of the
        content; None if there is none) and the rest of the content.
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
    """Convert messages to dicts for a template, with spelled control tokens marked.

    Args:
        messages: The conversation, from its start.
        shape: The form that the template expects.
        thinking: ``keep`` keeps thinking wherever the template writes it; ``strip_history`` keeps
            it only after the last user message; ``off`` removes it.
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
    """The message with its content as a list of one text part, as vision models expect."""
    content = message.get("content")
    if not isinstance(content, str):
        return message
    return {**message, "content": [{"type": "text", "text": content}]}


def tool_dicts(tools: Sequence[dict[str, Any]], control: Marker) -> list[dict[str, Any]]:
    """Convert tools to ``{"type": "function", "function": {...}}``, with control tokens marked."""
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
            content = message.content  # inline thinking stays unchanged
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
    """Thinking as a block at the start of the content."""
    return f"<think>\n{thought}\n</think>\n\n"


def _call(call: Any, shape: Shape, default_id: str, control: Marker) -> dict[str, Any]:
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
    call_id = call.id or (default_id if shape.call_ids else None)
    return {"id": control.mark(call_id, assistant=True), **item} if call_id else item
