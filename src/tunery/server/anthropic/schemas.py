"""``POST /v1/messages``: its fields, and their conversion to a chat request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunery.server.openai import limits
from tunery.server.openai.errors import invalid
from tunery.server.openai.fields import fields
from tunery.server.openai.reading import checked
from tunery.server.openai.schemas import Body, ChatRequest, FunctionName, Stops, Strict
from tunery.types import is_list, is_object

BLOCKS = {
    "text": fields("type text", "cache_control citations parsed_output"),
    "thinking": fields("type thinking", "signature cache_control"),
    "tool_use": fields("type id name input", "cache_control caller"),
    "tool_result": fields("type tool_use_id content", "cache_control is_error"),
}
"""The blocks of a message."""


class MessageParam(Strict):
    """One message: text, or a list of blocks."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Any]


class ToolParam(Strict):
    """A tool that the client runs."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"cache_control", "strict", "eager_input_streaming", "defer_loading", "allowed_callers",
         "input_examples"}
    )  # fmt: skip

    type: Literal["custom"] = "custom"
    name: FunctionName
    description: str | None = None
    input_schema: Annotated[dict[str, Any], Field(default_factory=dict)]


class ToolChoice(Strict):
    """Whether the model calls a tool, and which one."""

    type: Literal["auto", "any", "tool", "none"]
    name: FunctionName | None = None
    disable_parallel_tool_use: bool = False


class Thinking(Strict):
    """Whether the model thinks first. A budget is a hint: its tokens are not counted."""

    ignored: ClassVar[frozenset[str]] = frozenset({"budget_tokens", "display"})

    type: Literal["enabled", "adaptive", "disabled"]


class OutputFormat(Strict):
    """JSON that conforms to a schema."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Strict):
    """The format of the answer."""

    ignored: ClassVar[frozenset[str]] = frozenset({"task_budget"})

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountRequest(Body):
    """The fields that make up a prompt: those of ``count_tokens``."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"metadata", "service_tier", "cache_control", "inference_geo", "speed", "betas",
         "user_profile_id", "workspace_id", "diagnostics"}
    )  # fmt: skip
    refused: ClassVar[Mapping[str, str]] = {
        "mcp_servers": "tools are run by the client",
        "container": "no code is run here",
        "context_management": "shorten the messages yourself",
    }

    model: Annotated[str, Field(min_length=1, max_length=limits.MAX_NAME_LETTERS)]
    messages: Annotated[list[MessageParam], Field(min_length=1, max_length=limits.MAX_MESSAGES)]
    system: str | list[Any] = ""
    tools: Annotated[list[ToolParam], Field(default_factory=list, max_length=limits.MAX_TOOLS)]
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


class MessagesRequest(CountRequest):
    """The fields of ``messages``."""

    max_tokens: Annotated[int, Field(ge=1, le=limits.MAX_TOKENS)]
    stop_sequences: Annotated[Stops, Field(default_factory=list, max_length=limits.MAX_STOPS)]
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=1)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 0


def to_chat(request: CountRequest) -> ChatRequest:
    """Convert to a chat request. ``max_tokens`` is left out: the caller applies it.

    Raises:
        Refused: A block of a message is not supported.
    """
    messages = [
        each
        for number, message in enumerate(request.messages)
        for each in _messages(message, f"messages[{number}]")
    ]
    if system := "\n\n".join(_texts(request.system, "system")):
        messages.insert(0, {"role": "system", "content": system})
    output = request.output_config or OutputConfig()
    thinks = request.thinking is not None and request.thinking.type != "disabled"
    values: dict[str, Any] = {
        "model": request.model,
        "messages": messages,
        "tools": [_tool(tool) for tool in request.tools],
        "enable_thinking": thinks,
        "continue_final_message": messages[-1]["role"] == "assistant",
        **_choice(request),
    }
    if output.format is not None:
        schema = {"name": "answer", "schema": output.format.schema_}
        values["response_format"] = {"type": "json_schema", "json_schema": schema}
    if output.effort is not None:
        values["reasoning_effort"] = "xhigh" if output.effort == "max" else output.effort
    if isinstance(request, MessagesRequest):
        values["stop"] = request.stop_sequences
        for key in ("temperature", "top_p", "top_k"):
            values[key] = getattr(request, key)
    return checked(ChatRequest, values)


def _tool(tool: ToolParam) -> dict[str, Any]:
    function = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _choice(request: CountRequest) -> dict[str, Any]:
    chosen = request.tool_choice
    if chosen is None:
        return {}
    told: Any = {"any": "required", "none": "none", "auto": None}.get(chosen.type)
    if chosen.type == "tool":
        if chosen.name is None:
            raise invalid("tool_choice.name", "tool_choice.name: it is missing.")
        told = {"type": "function", "function": {"name": chosen.name}}
    fields: dict[str, Any] = {"parallel_tool_calls": not chosen.disable_parallel_tool_use}
    return {**fields, "tool_choice": told} if told is not None else fields


def _messages(message: MessageParam, place: str) -> list[dict[str, Any]]:
    """The messages made from one message: each tool result becomes a separate message."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    if len(message.content) > limits.MAX_PARTS:
        where = f"{place}.content"
        raise invalid(where, f"{where}: at most {limits.MAX_PARTS} blocks are allowed.")
    blocks = [
        (block if is_object(block) else {}, f"{place}.content[{number}]")
        for number, block in enumerate(message.content)
    ]
    if message.role == "assistant":
        return [_said(blocks)]
    found: list[dict[str, Any]] = []
    texts: list[str] = []
    for block, where in blocks:
        if block.get("type") == "tool_result" and message.role == "user":
            BLOCKS["tool_result"].check(block, where)
            _flush(message.role, texts, found)
            text = "\n".join(_texts(block.get("content", ""), f"{where}.content"))
            call = _word(block, "tool_use_id", where)
            found.append({"role": "tool", "tool_call_id": call, "content": text})
        else:
            texts.append(_text(block, where))
    _flush(message.role, texts, found)
    return found or [{"role": message.role, "content": ""}]


def _flush(role: str, texts: list[str], found: list[dict[str, Any]]) -> None:
    if texts:
        found.append({"role": role, "content": "\n".join(texts)})
        texts.clear()


def _said(blocks: Sequence[tuple[dict[str, Any], str]]) -> dict[str, Any]:
    """An assistant message: its thinking, text and calls."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block, where in blocks:
        match block.get("type"):
            case "thinking":
                BLOCKS["thinking"].check(block, where)
                thoughts.append(_word(block, "thinking", where, empty=True))
            case "redacted_thinking":
                raise invalid(where, f"{where}: redacted thinking cannot be read here.")
            case "tool_use":
                BLOCKS["tool_use"].check(block, where)
                given = block.get("input", {})
                if not is_object(given):
                    raise invalid(f"{where}.input", f"{where}.input: it must be an object.")
                name = _word(block, "name", where)
                function = {"name": name, "arguments": json.dumps(given, ensure_ascii=False)}
                call = {"id": _word(block, "id", where), "type": "function"}
                calls.append({**call, "function": function})
            case _:
                texts.append(_text(block, where))
    said: dict[str, Any] = {"role": "assistant", "content": "\n".join(texts)}
    if calls:
        said["tool_calls"] = calls
    if thoughts:
        said["reasoning_content"] = "\n".join(thoughts)
    return said


def _texts(content: Any, place: str) -> list[str]:
    """The texts of a string or of a list of text blocks."""
    if isinstance(content, str):
        return [content] if content else []
    if not is_list(content) or len(content) > limits.MAX_PARTS:
        raise invalid(
            place, f"{place}: it must be text, or a list of at most {limits.MAX_PARTS} blocks."
        )
    return [
        _text(block if is_object(block) else {}, f"{place}[{number}]")
        for number, block in enumerate(content)
    ]


def _text(block: Mapping[str, Any], place: str) -> str:
    text = block.get("text")
    if block.get("type") == "text" and isinstance(text, str):
        BLOCKS["text"].check(block, place)
        return text
    if block.get("type") in ("image", "document", "search_result", "container_upload"):
        raise invalid(place, f"{place}: this model accepts only text; URLs are not fetched.")
    raise invalid(place, f'{place}: expected {{"type": "text", "text": "..."}}.')


def _word(block: Mapping[str, Any], key: str, place: str, *, empty: bool = False) -> str:
    value = block.get(key)
    if not isinstance(value, str) or not (value or empty):
        raise invalid(f"{place}.{key}", f"{place}.{key}: it must be text.")
    return value
