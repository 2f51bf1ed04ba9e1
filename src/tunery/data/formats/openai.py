"""OpenAI rows: messages [{role, content, tool_calls}], tools."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from tunery.data.formats.base import Columns, Row, RowOptions, coerced, text
from tunery.data.formats.flags import trained
from tunery.data.formats.messages import (
    THOUGHTS,
    as_object,
    by_turns,
    legacy_call,
    listed,
    ordered,
    tool_call,
    tool_list,
)
from tunery.data.formats.roles import collect_unknown_roles, role_of
from tunery.data.formats.written import parsed
from tunery.data.problems import RowProblem, enumerated, say, show
from tunery.types import Conversation, Message, RowRef, is_list, is_object


class OpenAI(Columns):
    """A conversation in the format of chat APIs."""

    name = "openai"
    required = ("messages",)
    known = ("messages", "tools", "weight")
    usual = MappingProxyType({"messages": ("conversations",), "tools": ("functions",)})

    def score(self, raw: Row, options: RowOptions) -> float:
        """As usual, but 0 if the messages are turns with ``from`` and ``value``."""
        turns = raw.get(options.column("messages"))
        first: Any = turns[0] if is_list(turns) and turns else None
        foreign = is_object(first) and "role" not in first and "from" in first
        return 0.0 if foreign else super().score(raw, options)

    def plain(self, options: RowOptions) -> Callable[[Row], bool]:
        """Test whether user and assistant alternate, with text only."""
        return by_turns(
            options.column("messages"),
            ("role", "content"),
            ("user", "assistant"),
            others=(options.column("tools"),),
        )

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> Conversation:
        """Convert a row to a conversation."""
        column = options.column("messages")
        value = parsed(self.value(raw, "messages", options), column, options)
        messages = read_messages(listed(value, column), column, options)
        tools = options.column("tools")
        return Conversation(
            ordered(messages, column, options), tools=tool_list(raw.get(tools), tools), ref=ref
        )


def read_messages(values: list[Any], column: str, options: RowOptions) -> list[Message]:
    """Read messages with ``role`` and ``content``.

    Raises:
        RowProblem: A message cannot be read; ``field`` is its path.
    """
    with collect_unknown_roles(values, "role", options):
        return [
            _message(value, f"{column}[{i}]", column, options) for i, value in enumerate(values)
        ]


def _message(value: Any, where: str, column: str, options: RowOptions) -> Message:
    message = as_object(value, where)
    if "role" not in message:
        if "from" in message:
            raise RowProblem(
                "E301",
                f"{where}.role",
                say("{place} has from instead of role", place=where),
                say("Set --data.format sharegpt, which reads the keys from and value."),
            )
        raise _absent(f"{where}.role")
    role = role_of(message["role"], f"{where}.role", options)
    calls: Any = message.get("tool_calls") or []
    if not is_list(calls):
        raise RowProblem(
            "E304",
            f"{where}.tool_calls",
            say(
                "field {field}: expected a list, found {what}",
                field=f"{where}.tool_calls",
                what=show(calls),
            ),
        )
    made = tuple(tool_call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls))
    legacy = legacy_call(message, where)
    if made and legacy:
        raise RowProblem(
            "E412",
            where,
            say("{place}: has both tool_calls and function_call", place=where),
            say("Keep tool_calls, the newer form."),
        )
    may_be_empty = bool(made or legacy) or role == "tool"
    identifier = message.get("tool_call_id")
    return Message(
        role,
        _content(message, where, column, options, may_be_empty=may_be_empty),
        thinking=_thinking(message, where),
        tool_calls=made or legacy,
        tool_call_id=str(identifier) if identifier is not None else None,
        name=_name(message.get("name"), f"{where}.name"),
        train=trained(message, where, role),
    )


def _name(value: Any, field: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise RowProblem(
        "E304",
        field,
        say("field {field}: expected text, found {what}", field=field, what=show(value)),
    )


def _content(
    message: dict[str, Any], where: str, column: str, options: RowOptions, *, may_be_empty: bool
) -> str:
    place = f"{where}.content"
    value = message.get("content")
    if is_list(value):
        value = _joined(value, place)
    if may_be_empty:
        if value is None:
            return ""
        how = options.coerce.get(column)
        return value if isinstance(value, str) else coerced(value, place, how, column)
    if "content" not in message:
        raise _absent(place)
    is_prompt = message.get("role") != "assistant"
    return text(value, column, options, place=place, is_prompt=is_prompt)


def _joined(parts: list[Any], place: str) -> str:
    """Concatenate the texts of a list of content parts."""
    texts: list[str] = []
    for i, part in enumerate(parts):
        kind = part.get("type") if is_object(part) else None
        if isinstance(part, str):
            texts.append(part)
        elif kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(kind, str) and kind != "text":
            raise RowProblem(
                "E600",
                f"{place}[{i}]",
                say(
                    "{place}: a part of type {kind}; only text can be trained on",
                    place=f"{place}[{i}]",
                    kind=kind,
                ),
                say("Remove the part, or remove the row."),
            )
        else:
            raise RowProblem(
                "E304",
                f"{place}[{i}]",
                say(
                    "field {field}: expected text, found {what}",
                    field=f"{place}[{i}]",
                    what=show(part),
                ),
            )
    return "".join(texts)


def _thinking(message: dict[str, Any], where: str) -> str | None:
    """The thinking of a message, under any of its usual keys; None if there is none.

    Raises:
        RowProblem: E304 it is not text, E420 two keys have different texts.
    """
    found: dict[str, str] = {}
    for key in THOUGHTS:
        value = message.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            raise RowProblem(
                "E304",
                f"{where}.{key}",
                say(
                    "field {field}: expected text, found {what}",
                    field=f"{where}.{key}",
                    what=show(value),
                ),
            )
        if value.strip():
            found[key] = value
    if len(set(found.values())) > 1:
        raise RowProblem(
            "E420",
            where,
            say("{place}: {flags} contradict each other", place=where, flags=enumerated(found)),
            say("Keep one of them."),
        )
    return next(iter(found.values()), None)


def _absent(place: str) -> RowProblem:
    return RowProblem(
        "E301",
        place,
        say("{field} is missing", field=place),
        say("Add it, or remove the row."),
    )
