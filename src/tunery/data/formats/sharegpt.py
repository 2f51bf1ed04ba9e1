"""ShareGPT rows: conversations [{from, value}], system, tools; user/assistant names work too."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from tunery.data.formats.base import (
    Columns,
    Row,
    RowOptions,
    never,
    optional_text,
    text,
    with_usual,
)
from tunery.data.formats.flags import trained
from tunery.data.formats.messages import (
    as_object,
    by_turns,
    listed,
    ordered,
    tool_call,
    tool_list,
)
from tunery.data.formats.openai import read_messages
from tunery.data.formats.roles import collect_unknown_roles, role_of
from tunery.data.formats.written import parsed
from tunery.data.numbers import loads
from tunery.data.problems import RowProblem, say
from tunery.types import Conversation, Message, RowRef, ToolCall, is_list, is_object

TAG_ROLES = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}


class ShareGPT(Columns):
    """A conversation with human, gpt, observation and function_call."""

    name = "sharegpt"
    required = ("conversations",)
    known = ("conversations", "system", "tools", "weight")
    usual = MappingProxyType({"conversations": ("messages",), "tools": ("functions",)})

    def score(self, raw: Row, options: RowOptions) -> float:
        """As usual, also for turns with ``from`` under an alternative column name."""
        turns = raw.get("messages")
        first: Any = turns[0] if is_list(turns) and turns else None
        foreign = is_object(first) and "from" in first and "role" not in first
        return super().score(raw, with_usual(self, raw, options) if foreign else options)

    def plain(self, options: RowOptions) -> Callable[[Row], bool]:
        """Test whether human and gpt alternate, with text only."""
        if options.tags or options.role_map:
            return never
        return by_turns(
            options.column("conversations"),
            ("from", "value"),
            ("human", "gpt"),
            others=(options.column("system"), options.column("tools")),
        )

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> Conversation:
        """Convert a row to a conversation."""
        column, system = options.column("conversations"), options.column("system")
        value = parsed(self.value(raw, "conversations", options), column, options)
        turns = listed(value, column)
        first: dict[str, Any] = turns[0] if is_object(turns[0]) else {}
        tags = options.tags
        if "role" in first and tags.get("role_tag", "from") not in first:
            messages = read_messages(turns, column, options)
        else:
            messages = read_turns(turns, column, options)
        instructions = optional_text(raw.get(system), system, options)
        if instructions.strip() and messages[0].role != "system":
            messages.insert(0, Message("system", instructions))
        tools = options.column("tools")
        return Conversation(
            ordered(messages, column, options), tools=tool_list(raw.get(tools), tools), ref=ref
        )


def read_turns(values: list[Any], column: str, options: RowOptions) -> list[Message]:
    """Read turns with ``from`` and ``value``, or the keys that the tags name.

    Raises:
        RowProblem: A turn cannot be read; ``field`` is its path.
    """
    with collect_unknown_roles(values, options.tags.get("role_tag", "from"), options):
        return [_turn(value, f"{column}[{i}]", column, options) for i, value in enumerate(values)]


def read_any(values: list[Any], column: str, options: RowOptions) -> list[Message]:
    """Read turns or messages, depending on the first one.

    Raises:
        RowProblem: A turn or message cannot be read; ``field`` is its path.
    """
    first: dict[str, Any] = values[0] if is_object(values[0]) else {}
    if options.tags.get("role_tag", "from") in first:
        return read_turns(values, column, options)
    return read_messages(values, column, options)


def _turn(value: Any, where: str, column: str, options: RowOptions) -> Message:
    turn = as_object(value, where)
    role_tag = options.tags.get("role_tag", "from")
    content_tag = options.tags.get("content_tag", "value")
    for key in (role_tag, content_tag):
        if key not in turn:
            raise RowProblem(
                "E301",
                f"{where}.{key}",
                say("{field} is missing", field=f"{where}.{key}"),
                say("Add it, or remove the row."),
            )
    spoken = turn[role_tag]
    theirs = {options.tags[tag]: role for tag, role in TAG_ROLES.items() if tag in options.tags}
    if isinstance(spoken, str):
        spoken = theirs.get(spoken, spoken)
    role = role_of(spoken, f"{where}.{role_tag}", options)
    place = f"{where}.{content_tag}"
    content = (
        text(turn[content_tag], column, options, place=place, is_prompt=role != "assistant")
        if role != "tool"
        else (optional_text(turn[content_tag], column, options))
    )
    if spoken == "function_call":
        return Message(
            "assistant", "", tool_calls=_calls(content, place), train=trained(turn, where, role)
        )
    return Message(role, content, train=trained(turn, where, role))


def _calls(content: str, place: str) -> tuple[ToolCall, ...]:
    """Parse the calls of a function_call turn: JSON of one object or a list."""
    try:
        value = loads(content)
    except (ValueError, RecursionError) as error:
        raise RowProblem(
            "E412",
            place,
            say("field {field}: not JSON (column {n})", field=place, n=getattr(error, "colno", 1)),
            say('Write it as {"name": ..., "arguments": {...}}.'),
        ) from error
    calls = value if is_list(value) else [value]
    return tuple(tool_call(call, place) for call in calls)
