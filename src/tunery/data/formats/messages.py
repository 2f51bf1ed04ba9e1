"""Shared checks of all message formats: order of roles, tools, tool calls and their results."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from tunery.data.formats.base import RowOptions, out_of_range
from tunery.data.formats.flags import FLAGS
from tunery.data.formats.roles import ROLES
from tunery.data.numbers import is_finite, loads
from tunery.data.problems import RowProblem, say, show, visible
from tunery.types import Message, Role, ToolCall, is_list, is_object

THOUGHTS = ("reasoning_content", "thinking", "reasoning")
# A tool call written as text in an answer, as in Hermes, Llama, Mistral, ReAct and pythonic data.
SPELLED_CALL = re.compile(
    r"<(?:tool_call|function_call|functioncall|function|invoke)\b|\[TOOL_CALLS\]|<\|python_tag\|>"
    r"|<｜tool|^[ \t]*Action:|^[ \t]*[\[{].{0,200}?\"name\"[ \t]*:|^[ \t]*\[\w[\w.]{0,80}\(",
    re.MULTILINE | re.DOTALL,
)
_COMMON_KEYS = frozenset(("role", "content", "name", *FLAGS))
_ROLE_KEYS: dict[Role, frozenset[str]] = {
    "assistant": _COMMON_KEYS.union(("tool_calls", "function_call"), THOUGHTS),
    "tool": _COMMON_KEYS | {"tool_call_id"},
}


def keys_of(message: dict[str, Any], options: RowOptions) -> frozenset[str]:
    """The keys that are read from a message or turn, depending on its notation and role."""
    tags = (options.tags.get("role_tag", "from"), options.tags.get("content_tag", "value"))
    if tags[0] in message and tags[1] in message:
        return frozenset((*tags, *FLAGS))
    spoken = message.get("role")
    ours = options.role_map.get(spoken, spoken) if isinstance(spoken, str) else ""
    return _ROLE_KEYS.get(ROLES.get(ours, "user"), _COMMON_KEYS)


def by_turns(
    column: str, keys: tuple[str, str], roles: tuple[str, str], *, others: tuple[str, ...]
) -> Callable[[dict[str, Any]], bool]:
    """Make a test for conversations with two alternating roles and texts that are not blank.

    A system message may come first.

    Args:
        column: Column of the messages.
        keys: The keys of role and text; a message must have no others.
        roles: The role that asks and the role that answers.
        others: Columns that must be absent.
    """
    role_key, text_key = keys
    asks, answers = roles

    def test(row: dict[str, Any]) -> bool:
        messages = row.get(column)
        if type(messages) is not list or not messages:
            return False
        if len(row) > 1 and any(name in row for name in others):
            return False
        expected = asks
        role: Any = None
        for message in cast("list[Any]", messages):
            kind = type(message)  # pyright: ignore[reportUnknownVariableType]
            if kind is not dict or len(message) != 2:
                return False
            role, text = message.get(role_key), message.get(text_key)
            if type(text) is not str or not text or text.isspace():
                return False
            if role != expected:
                if role == "system" and message is messages[0]:
                    continue
                return False
            expected = answers if expected is asks else asks
        return expected is asks and bool(role == answers)

    return test


def listed(value: Any, column: str) -> list[Any]:
    """Check that a value is a non-empty list of messages.

    Raises:
        RowProblem: E303 null, E302 empty, E304 not a list.
    """
    if value is None:
        raise RowProblem(
            "E303",
            column,
            say("field {field} is null", field=column),
            say("Write the messages, or remove the row."),
        )
    if not is_list(value):
        raise RowProblem(
            "E304",
            column,
            say("field {field}: expected a list, found {what}", field=column, what=show(value)),
            say('Write it as [{"role": ..., "content": ...}, ...].'),
        )
    if not value:
        raise RowProblem(
            "E302",
            column,
            say("field {field} is an empty list", field=column),
            say("Write the messages, or remove the row."),
        )
    return value


def tool_list(value: Any, column: str) -> tuple[dict[str, Any], ...]:
    """Read the tools of a row: a list of objects, or such a list as JSON text; may be empty.

    Raises:
        RowProblem: E411 not JSON, or not a list of objects; E126 a number out of range.
    """
    if value is None or value == "" or value == []:
        return ()
    if isinstance(value, str):
        try:
            value = loads(value)
        except (ValueError, RecursionError) as error:
            column_number = getattr(error, "colno", 1)
            raise RowProblem(
                "E411",
                column,
                say("field {field}: not JSON (column {n})", field=column, n=column_number),
                say("Write a JSON list of tools, or leave {field} out.", field=column),
                column=column_number,
            ) from error
    if is_object(value):
        value = [value]
    if not is_list(value) or any(not is_object(tool) for tool in value):
        raise RowProblem(
            "E411",
            column,
            say(
                "field {field}: expected a list of tools, found {what}",
                field=column,
                what=show(value),
            ),
            say("Write a JSON list of tools, or leave {field} out.", field=column),
        )
    if not is_finite(value):
        raise out_of_range(column)
    return tuple(value)


def tool_call(value: Any, where: str) -> ToolCall:
    """Read one tool call: ``{name, arguments}``, directly or in ``function``.

    Arguments in JSON text are parsed.

    Raises:
        RowProblem: E412 not an object with a name, or arguments that are not a JSON object; E126 a
            number out of range.
    """
    call: Any = value.get("function", value) if is_object(value) else value
    if not is_object(call) or not isinstance(call.get("name"), str) or not call["name"]:
        raise RowProblem(
            "E412",
            where,
            say(
                "field {field}: expected a call with a name, found {what}",
                field=where,
                what=show(call),
            ),
            say('Write it as {"name": ..., "arguments": {...}}.'),
        )
    arguments: Any = call.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = loads(arguments) if arguments.strip() else dict[str, Any]()
        except (ValueError, RecursionError) as error:
            raise RowProblem(
                "E412",
                f"{where}.arguments",
                say(
                    "field {field}: not JSON (column {n})",
                    field=f"{where}.arguments",
                    n=getattr(error, "colno", 1),
                ),
                say("Write the arguments as a JSON object."),
            ) from error
    if arguments is None:
        arguments = dict[str, Any]()
    if not is_object(arguments):
        raise RowProblem(
            "E412",
            f"{where}.arguments",
            say(
                "field {field}: expected an object, found {what}",
                field=f"{where}.arguments",
                what=show(arguments),
            ),
            say("Write the arguments as a JSON object."),
        )
    if not is_finite(arguments):
        raise out_of_range(f"{where}.arguments")
    identifier = value.get("id") if is_object(value) else None
    return ToolCall(call["name"], arguments, str(identifier) if identifier is not None else None)


def legacy_call(message: dict[str, Any], where: str) -> tuple[ToolCall, ...]:
    """Read the call in OpenAI's old ``function_call`` field; empty if it is absent or null."""
    call = message.get("function_call")
    return () if call is None else (tool_call(call, f"{where}.function_call"),)


def ordered(messages: Sequence[Message], column: str, options: RowOptions) -> tuple[Message, ...]:
    """Check the order of a conversation and merge adjacent messages if configured.

    Raises:
        RowProblem: E402 the same role twice in a row, E404 a system message that is not first,
            E406 no assistant message, E414 tool calls and results that do not match.
    """
    if options.merge_same_role:
        messages = merged(messages)
    for i, message in enumerate(messages):
        previous = messages[i - 1].role if i else None
        if message.role == "system" and i:
            raise RowProblem(
                "E404",
                f"{column}[{i}]",
                say("{place}: system is allowed only as the first message", place=f"{column}[{i}]"),
                say("Move it to the front, or merge it into a user message."),
            )
        if message.role == previous and message.role in ("user", "assistant"):
            raise RowProblem(
                "E402",
                f"{column}[{i}]",
                say("{place}: {role} after {role}", place=f"{column}[{i}]", role=message.role),
                say(
                    "Join them with a blank line: --data.merge_same_role true; or correct the row."
                ),
            )
    if not any(message.role == "assistant" for message in messages):
        raise RowProblem(
            "E406",
            column,
            say("{field} has no assistant message: there is nothing to learn", field=column),
            say("Add the answer, or remove the row."),
        )
    matched_calls(messages, column)
    return tuple(messages)


def merged(messages: Sequence[Message]) -> list[Message]:
    """Merge adjacent messages with the same role, with a blank line between their texts."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last and last.role == message.role and message.role != "tool":
            parts = [part for part in (last.content, message.content) if part]
            thoughts = [part for part in (last.thinking, message.thinking) if part]
            joined[-1] = replace(
                last,
                content="\n\n".join(parts),
                thinking="\n\n".join(thoughts) or None,
                tool_calls=last.tool_calls + message.tool_calls,
                train=last.train if last.train is not None else message.train,
            )
        else:
            joined.append(message)
    return joined


def matched_calls(messages: Sequence[Message], column: str) -> None:
    """Check that tool results follow their calls, in the same order if calls have IDs.

    Raises:
        RowProblem: E414, a result has no call, or a call with an ID has no result.
    """
    if any(message.role == "tool" for message in messages):
        _check_results(messages, column)
    waiting: list[str] = []
    for i, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id is None or not waiting:
                if message.tool_call_id is not None:
                    raise _unmatched(column, i, message.tool_call_id)
                continue
            if message.tool_call_id != waiting[0]:
                raise _unmatched(column, i, message.tool_call_id)
            waiting.pop(0)
            continue
        if waiting:
            raise RowProblem(
                "E414",
                f"{column}[{i}]",
                say(
                    "{place}: tool call {id} has no result before it",
                    place=f"{column}[{i}]",
                    id=waiting[0],
                ),
                say("Add the tool message with its result."),
            )
        if message.role == "assistant":
            waiting = [call.id for call in message.tool_calls if call.id is not None]
            follower = messages[i + 1] if i + 1 < len(messages) else None
            if follower is None or (follower.role == "tool" and follower.tool_call_id is None):
                waiting = []


def _check_results(messages: Sequence[Message], column: str) -> None:
    """Check that each result follows a call: a tool call, or one written as text in the answer."""
    left: float = 0
    for i, message in enumerate(messages):
        if message.role != "tool":
            spelled = message.role == "assistant" and SPELLED_CALL.search(message.content)
            left = math.inf if spelled else len(message.tool_calls)
            continue
        if not left:
            raise RowProblem(
                "E414",
                f"{column}[{i}]",
                say("{place}: tool result without a preceding call", place=f"{column}[{i}]"),
                say(
                    "Add the call to the assistant message before it (tool_calls, or a "
                    "function_call turn), or remove the row."
                ),
            )
        left -= 1


def _unmatched(column: str, i: int, identifier: str) -> RowProblem:
    return RowProblem(
        "E414",
        f"{column}[{i}].tool_call_id",
        say(
            "{place}: result for {id} does not answer the next open tool call",
            place=f"{column}[{i}]",
            id=visible(identifier, 40),
        ),
        say("Put the results in the order of the calls, each with the id of its call."),
    )


def as_object(value: Any, where: str) -> dict[str, Any]:
    """Check that a message is an object.

    Raises:
        RowProblem: E304, it is not.
    """
    if not is_object(value):
        raise RowProblem(
            "E304",
            where,
            say("{place}: expected a message, found {what}", place=where, what=show(value)),
            say(
                'Write each message as {"role": ..., "content": ...}; if the field holds a text, '
                "write it as text."
            ),
        )
    return value
