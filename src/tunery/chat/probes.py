"""Detect what a template supports (tools, calls, thinking) by rendering small conversations."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from tunery.chat import refusals
from tunery.chat.messages import THINKING_VARIABLES, Shape, thinking_block
from tunery.chat.remarks import UNNAMED
from tunery.types import Conversation, Rendered

VALUE = "zqvalue"
_ANSWER = "zqanswer"
_USER = {"role": "user", "content": "Hi"}
_TOOL = {
    "type": "function",
    "function": {
        "name": "zq_tool",
        "description": "Zq.",
        "parameters": {
            "type": "object",
            "properties": {"zq_key": {"type": "string", "description": "Zq."}},
            "required": ["zq_key"],
        },
    },
}


class Features:
    """The features that a template supports; each is probed once, on first use.

    Args:
        probe: Renders message dicts (and ``tools=``) to text; returns None if the template fails.
        source: The template's source.
        with_tools: Returns the built-in templates that support tools and fit the tokenizer.
    """

    def __init__(
        self,
        probe: Callable[..., str | None],
        source: str,
        with_tools: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._probe = probe
        self._with_tools = with_tools
        self.source = source
        self._writes_name: dict[str, bool] = {}

    def check(self, conversation: Conversation, name: str) -> None:
        """Reject a conversation if the template would drop part of it.

        Args:
            conversation: The conversation.
            name: The template's name, for the error.

        Raises:
            DataError: E415, tools, calls or tool results that the template does not write;
                E416, a system message that it drops; E423, it writes no text at all.
        """
        if self.loses_text:
            raise refusals.no_text(name)
        roles = {message.role for message in conversation.messages}
        calls = any(message.tool_calls for message in conversation.messages)
        if conversation.tools and not self.lists_tools:
            raise refusals.no_tools(name, len(conversation.tools), self._with_tools())
        if (calls or "tool" in roles) and self.call_shape is None:
            raise refusals.no_calls(name, self._with_tools())
        if "system" in roles and self.loses_system:
            raise refusals.no_system(name)

    @functools.cached_property
    def lists_tools(self) -> bool:
        """Whether the template writes the tools."""
        return "zq_tool" in (self._probe([_USER], tools=[_TOOL]) or "")

    @functools.cached_property
    def begins_empty(self) -> bool:
        """Whether an empty conversation renders to empty text, without a system message or BOS."""
        return self._probe([]) == ""

    @functools.cached_property
    def question_header(self) -> str:
        """The text between the end of an answer and the next question; empty if not known."""
        answer = {"role": "assistant", "content": _ANSWER}
        ended = self._probe([_USER, answer])
        asked = self._probe([_USER, answer, {"role": "user", "content": VALUE}])
        if ended is None or asked is None:
            return ""
        end = ended.rpartition(_ANSWER)[2]
        between = asked.rpartition(VALUE)[0].rpartition(_ANSWER)[2]
        return between.removeprefix(end) if between.startswith(end) else ""

    @functools.cached_property
    def loses_text(self) -> bool:
        """Whether the template drops the text of a question or of its answer."""
        answer = {"role": "assistant", "content": "zqanswer"}
        text = self._probe([{"role": "user", "content": "zquser"}, answer])
        return text is not None and not all(w in text.casefold() for w in ("zquser", "zqanswer"))

    @functools.cached_property
    def loses_system(self) -> bool:
        """Whether the template silently drops a system message."""
        text = self._probe([{"role": "system", "content": "zqsys"}, _USER])
        return text is not None and "zqsys" not in text

    def with_notes(self, rows: list[Rendered], conversation: Conversation) -> list[Rendered]:
        """The rows, with a remark if the template omits names of messages."""
        roles = {m.role for m in conversation.messages if m.name is not None}
        if all(self.writes_name(role) for role in roles):
            return rows
        return [replace(row, notes=(*row.notes, UNNAMED)) for row in rows]

    def writes_name(self, role: str) -> bool:
        """Whether the template writes the ``name`` of a message with this role."""
        if role not in self._writes_name:
            self._writes_name[role] = "zqname" in (self._with_name(role) or "")
        return self._writes_name[role]

    def _with_name(self, role: str) -> str | None:
        """A small rendered conversation with a named message of this role."""
        if role == "tool":
            shape = self.call_shape
            if shape is None:
                return None
            messages = _call_probe(shape.call_ids, shape.arguments_as_text, shape.empty_content)
            return self._probe([*messages[:-1], messages[-1] | {"name": "zqname"}], tools=[_TOOL])
        named = {"role": role, "content": "Hi", "name": "zqname"}
        return self._probe(
            {"system": [named, _USER], "assistant": [_USER, named]}.get(role, [named])
        )

    @functools.cached_property
    def reads_thinking(self) -> bool:
        """Whether the template writes ``reasoning_content`` or ``thinking`` of the last answer."""
        answer = {"role": "assistant", "content": "A", "reasoning_content": "zqmind"}
        return "zqmind" in (self._probe([_USER, answer | {"thinking": "zqmind"}]) or "")

    @functools.cached_property
    def call_shape(self) -> Shape | None:
        """The first shape of tool calls that the template renders completely; None if none."""
        for ids, as_text, empty in product((False, True), (False, True), ("", None)):
            text = self._probe(_call_probe(ids, as_text, empty), tools=[_TOOL])
            whole = text is not None and all(
                part in text for part in ("zq_tool", "zq_key", VALUE, "zqresult")
            )
            if text is not None and whole and "{'zq_key'" not in text:
                return Shape(as_text, empty, ids, *self._thinking)
        return None

    @functools.cached_property
    def shape(self) -> Shape:
        """The form in which messages are passed to this template."""
        if "tool_calls" in self.source and self.call_shape is not None:
            return self.call_shape
        reads, splits, strips, keeps = self._thinking
        return Shape(
            reads_thinking=reads, splits_thinking=splits, strips_history=strips, keeps_history=keeps
        )

    @functools.cached_property
    def joins_thinking(self) -> bool:
        """Whether the text around thinking depends on how it is passed (DeepSeek R1)."""
        if "</think>" not in self.source:
            return False
        with_thinking = self._with_earlier_thinking() or ""
        without = self._probe([_USER, {"role": "assistant", "content": "A"}, _USER])
        changed = "zqmind" not in with_thinking and with_thinking != without
        return changed or not self.reads_thinking

    @functools.cached_property
    def _thinking(self) -> tuple[bool, bool, bool, bool]:
        """The values of the last four fields of :class:`Shape`."""
        stripped = "zqmind" not in (self._with_earlier_thinking() or "zqmind")
        kept = self._with_earlier_thinking(**THINKING_VARIABLES["keep"]) or "zqmind"
        return self.reads_thinking, "</think>" in self.source, stripped, "zqmind" in kept

    def _with_earlier_thinking(self, **variables: Any) -> str | None:
        """A rendered conversation in which an earlier answer has thinking."""
        if self.reads_thinking:
            answer = {"content": "A", "reasoning_content": "zqmind", "thinking": "zqmind"}
        else:
            answer = {"content": thinking_block("zqmind") + "A"}
        return self._probe([_USER, {"role": "assistant", **answer}, _USER], **variables)

    def call_example(self, *, answered: bool = True) -> str | None:
        """A rendered call, with or without its result; None if the template supports no calls."""
        shape = self.call_shape
        if shape is None:
            return None
        messages = _call_probe(shape.call_ids, shape.arguments_as_text, shape.empty_content)
        return self._probe(messages if answered else messages[:-1], tools=[_TOOL])


def _call_probe(ids: bool, as_text: bool, empty: str | None) -> list[dict[str, Any]]:
    arguments: Any = {"zq_key": VALUE}
    call: dict[str, Any] = {
        "type": "function",
        "function": {
            "name": "zq_tool",
            "arguments": json.dumps(arguments) if as_text else arguments,
        },
    }
    assistant: dict[str, Any] = {"role": "assistant", "tool_calls": [call]}
    answer: dict[str, Any] = {"role": "tool", "content": "zqresult"}
    if empty is not None:
        assistant["content"] = empty
    if ids:
        call["id"] = answer["tool_call_id"] = "call00001"
    return [_USER, assistant, answer]
