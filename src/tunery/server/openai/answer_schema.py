"""Constraints on an answer: which tools it may call, and the schema that it must follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunery.chat.tool_calls import Syntax
from tunery.server.openai import limits
from tunery.server.openai.errors import invalid
from tunery.server.openai.schema_ends import unusable
from tunery.server.openai.schemas import AllowedTools, ChatRequest, NamedTool, Tool
from tunery.types import is_list, is_object


def forces_call(request: ChatRequest) -> bool:
    """Whether the answer can only consist of calls."""
    match request.tool_choice:
        case NamedTool():
            return True
        case AllowedTools(allowed_tools=allowed):
            return allowed.mode == "required"
        case choice:
            return choice == "required"


def allowed_tools(request: ChatRequest) -> list[dict[str, Any]]:
    """The tools that may be called; the model sees no others."""
    return [tool.model_dump(exclude_none=True) for tool in _chosen(request)]


def _chosen(request: ChatRequest) -> list[Tool]:
    match request.tool_choice:
        case "none":
            return []
        case NamedTool(function=named):
            names = {named.name}
        case AllowedTools(allowed_tools=allowed):
            names = {each.function.name for each in allowed.tools}
        case _:
            return list(request.tools)
    return [tool for tool in request.tools if tool.function.name in names]


def schema_of(
    request: ChatRequest, tools: Sequence[dict[str, Any]], syntax: Syntax
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the schema that the answer must follow, and the texts that may start a call instead.

    Raises:
        Refused: The schema is missing, too large, refers to something that is not in it, or
            requires itself without end.
    """
    unless: tuple[str, ...] = ()
    param = "response_format"
    if forces_call(request):
        param = "tools"
        schema = _call_schema(request, tools)
    else:
        schema = _answer_schema(request)
        if schema is not None and tools:
            schema, unless = _or_call(schema, tools, syntax)
    if schema is not None:
        _check_schema(schema, param)
    return schema, unless


def _or_call(
    schema: dict[str, Any], tools: Sequence[dict[str, Any]], syntax: Syntax
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """An answer that follows the schema, or calls in the syntax of the model's family."""
    names = [tool["function"]["name"] for tool in tools]
    match syntax.bare:
        case "json":
            called = {
                "type": "object",
                "properties": {"name": {"enum": names}, "parameters": {"type": "object"}},
                "required": ["name", "parameters"],
                "additionalProperties": False,
            }
            definitions: dict[str, Any] = {}
            either = {"anyOf": [_own_root(schema, definitions, "answer"), called]}
            schema = {**either, "$defs": definitions} if definitions else either
            unless: list[str] = []
        case "lines":
            unless = [f"{name}\n" for name in names]
        case _:
            unless = []
    return schema, (*unless, *syntax.marks, *syntax.silent)


def _answer_schema(request: ChatRequest) -> dict[str, Any] | None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "object"}
    if wanted.json_schema is None or wanted.json_schema.schema_ is None:
        where = "response_format.json_schema.schema"
        raise invalid(where, f"{where}: it is missing.")
    return wanted.json_schema.schema_


def _call_schema(request: ChatRequest, tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A schema for calls: one, or a list of at least one."""
    definitions: dict[str, Any] = {}
    calls = [_one_call(tool["function"], definitions) for tool in tools]
    one = calls[0] if len(calls) == 1 else {"anyOf": calls}
    schema = one
    if request.parallel_tool_calls and not isinstance(request.tool_choice, NamedTool):
        schema = {"type": "array", "items": one, "minItems": 1, "maxItems": 8}
    return {**schema, "$defs": definitions} if definitions else schema


def _one_call(function: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {"type": "object", **(function.get("parameters") or {})}
    arguments = _own_root(arguments, definitions, f"tool{len(definitions)}")
    return {
        "type": "object",
        "properties": {"name": {"enum": [function["name"]]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _own_root(schema: dict[str, Any], definitions: dict[str, Any], place: str) -> dict[str, Any]:
    """A schema nested in another; its references are relative to its own root and move with it."""
    if '"$ref"' not in json.dumps(schema):
        return schema
    definitions[place] = _moved(schema, f"#/$defs/{place}")
    return {"$ref": f"#/$defs/{place}"}


def _moved(value: Any, root: str) -> Any:
    if is_object(value):
        return {
            key: root + inner[1:]
            if key == "$ref" and isinstance(inner, str) and inner.startswith("#")
            else _moved(inner, root)
            for key, inner in value.items()
        }
    return [_moved(item, root) for item in value] if is_list(value) else value


def _check_schema(schema: Mapping[str, Any], param: str) -> None:
    size = len(json.dumps(schema))
    if size > limits.MAX_SCHEMA_LETTERS:
        raise invalid(
            param,
            f"The JSON schema has {size} characters; the limit is {limits.MAX_SCHEMA_LETTERS}.",
            code="bad_schema",
        )
    if why := unusable(schema):
        raise invalid(param, why, code="bad_schema")
