"""Prompt/completion rows: two texts, or two lists of messages."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from tunery.data.formats.base import Columns, Row, RowOptions, both_texts, text, with_usual
from tunery.data.formats.messages import listed, ordered, tool_list
from tunery.data.formats.sharegpt import read_any
from tunery.data.formats.written import check_no_messages
from tunery.types import Conversation, Message, Role, RowRef


class PromptCompletion(Columns):
    """A prompt and its completion."""

    name = "prompt_completion"
    required = ("prompt", "completion")
    known = ("prompt", "completion", "system", "tools", "weight")
    usual = MappingProxyType({"prompt": ("query",), "completion": ("response",)})

    def score(self, raw: Row, options: RowOptions) -> float:
        """As usual, with the alternative names of both columns."""
        return super().score(raw, with_usual(self, raw, options))

    def plain(self, options: RowOptions) -> Callable[[Row], bool]:
        """Test whether both are strings, not blank, and no lists written as text."""
        others = (options.column("system"), options.column("tools"))
        prompt, completion = options.column("prompt"), options.column("completion")
        texts = both_texts(prompt, completion, others)
        return lambda row: texts(row) and row[prompt][:1] != "[" != row[completion][:1]

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> Conversation:
        """Convert a row to a conversation: user, assistant."""
        messages = self._side(raw, "prompt", "user", options)
        messages += self._side(raw, "completion", "assistant", options)
        system, tools = options.column("system"), options.column("tools")
        if raw.get(system) and messages[0].role != "system":
            messages.insert(0, Message("system", text(raw[system], system, options)))
        return Conversation(
            ordered(messages, options.column("prompt"), options),
            tools=tool_list(raw.get(tools), tools),
            ref=ref,
        )

    def _side(self, raw: Row, name: str, role: Role, options: RowOptions) -> list[Message]:
        column = options.column(name)
        value: Any = self.value(raw, name, options)
        if isinstance(value, dict):
            value = [value]
        if isinstance(value, list):
            return read_any(listed(value, column), column, options)
        check_no_messages(value, column)
        return [Message(role, text(value, column, options, is_prompt=role == "user"))]
