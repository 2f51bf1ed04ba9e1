"""``POST /v1/responses``: its fields, and their conversion to a chat request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from tunery.server.openai import limits
from tunery.server.openai.errors import invalid
from tunery.server.openai.fields import fields
from tunery.server.openai.reading import checked
from tunery.server.openai.schemas import Body, ChatRequest, FunctionName, Strict
from tunery.types import is_list, is_object

LOGPROBS = "message.output_text.logprobs"
_NOTHING_KEPT = "nothing is stored here; send the whole conversation in input"


ITEMS = {
    "message": fields("type role content", "id status phase"),
    "reasoning": fields("type content", "id status summary encrypted_content"),
    "function_call": fields(
        "type call_id name arguments", "id status async caller namespace parsed_arguments"
    ),
    "function_call_output": fields("type call_id output", "id status caller name namespace"),
}
"""The items of an input."""

PARTS = {
    "input_text": fields("type text", "prompt_cache_breakpoint"),
    "output_text": fields("type text", "annotations logprobs parsed"),
    "reasoning_text": fields("type text"),
    "summary_text": fields("type text"),
    "text": fields("type text", "annotations"),
    "refusal": fields("type refusal"),
}
"""The content parts of an item."""


def _not_kept(value: Any) -> Any:
    raise ValueError(f"is not supported; {_NOTHING_KEPT}")


class ResponseTool(Strict):
    """A function that the model may call."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"strict", "defer_loading", "allowed_callers", "output_schema", "async"}
    )

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Named(Strict):
    """A function, by name."""

    type: Literal["function"]
    name: FunctionName


class Allowed(Strict):
    """A subset of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"] = "auto"
    tools: Annotated[list[Named], Field(min_length=1, max_length=limits.MAX_TOOLS)]


class TextFormat(Strict):
    """Text, any JSON object, or JSON that conforms to a schema."""

    ignored: ClassVar[frozenset[str]] = frozenset({"strict", "description"})

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class TextSettings(Strict):
    """The format of the answer's text."""

    refused: ClassVar[Mapping[str, str]] = {"verbosity": "no model here reads it"}

    format: TextFormat | None = None


class Reasoning(Strict):
    """How much the model thinks."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"summary", "generate_summary", "context", "mode"}
    )

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None


class ResponsesRequest(Body):
    """The supported fields."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            "metadata", "user", "store", "service_tier", "safety_identifier", "prompt_cache_key",
            "prompt_cache_retention", "prompt_cache_options", "stream_options", "max_tool_calls",
        }
    )  # fmt: skip
    refused: ClassVar[Mapping[str, str]] = {
        "previous_response_id": _NOTHING_KEPT,
        "prompt": "prompts are not stored here; send instructions and input",
        "context_management": "shorten the input yourself",
        "moderation": "no moderation model is served here",
    }

    model: Annotated[str, Field(min_length=1, max_length=limits.MAX_NAME_LETTERS)]
    input: str | list[Any]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=limits.MAX_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_logprobs: Annotated[int, Field(ge=0, le=limits.MAX_TOP_LOGPROBS)] | None = None
    include: Annotated[list[str], Field(default_factory=list)]
    tools: Annotated[list[ResponseTool], Field(default_factory=list, max_length=limits.MAX_TOOLS)]
    tool_choice: Literal["none", "auto", "required"] | Named | Allowed = "auto"
    parallel_tool_calls: bool = True
    text: TextSettings = TextSettings()
    reasoning: Reasoning | None = None
    stream: bool = False
    background: bool = False
    conversation: Annotated[Any, BeforeValidator(_not_kept)] = None
    truncation: Literal["auto", "disabled"] = "disabled"

    @model_validator(mode="after")
    def _supported(self) -> ResponsesRequest:
        if self.background:
            raise ValueError("background is not supported: nothing is stored here; leave it out")
        if self.truncation == "auto":
            raise ValueError("truncation must be 'disabled': the input is never truncated here")
        if not self.input:
            raise ValueError("input is empty")
        return self

    @property
    def with_logprobs(self) -> bool:
        """Whether log-probabilities were requested."""
        return LOGPROBS in self.include or self.top_logprobs is not None


def to_chat(request: ResponsesRequest) -> ChatRequest:
    """Convert to a chat request.

    Raises:
        Refused: An item of the input is not supported.
    """
    values: dict[str, Any] = {
        "model": request.model,
        "messages": _Conversation(request).messages,
        "max_completion_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "logprobs": request.with_logprobs,
        "top_logprobs": (request.top_logprobs or 0) if request.with_logprobs else None,
        "tools": [_tool(tool) for tool in request.tools],
        "tool_choice": _choice(request),
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": _format(request.text.format),
        "reasoning_effort": request.reasoning.effort if request.reasoning else None,
    }
    return checked(ChatRequest, {k: v for k, v in values.items() if v is not None})


def _tool(tool: ResponseTool) -> dict[str, Any]:
    function = tool.model_dump(exclude={"type"}, exclude_none=True)
    return {"type": "function", "function": function}


def _choice(request: ResponsesRequest) -> Any:
    match request.tool_choice:
        case Named(name=name):
            return {"type": "function", "function": {"name": name}}
        case Allowed(mode=mode, tools=tools):
            names = [{"type": "function", "function": {"name": each.name}} for each in tools]
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": names}}
        case "auto":
            return None  # even if there are no tools
        case choice:
            return choice


def _format(wanted: TextFormat | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if wanted.type != "json_schema":
        return {"type": wanted.type}
    if wanted.schema_ is None:
        raise invalid("text.format.schema", "text.format.schema: it is missing.")
    return {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": wanted.schema_}}


class _Conversation:
    """The messages made from the items of an input: a call belongs to the text before it."""

    def __init__(self, request: ResponsesRequest) -> None:
        self.messages: list[dict[str, Any]] = []
        self._said: dict[str, Any] | None = None  # the assistant message under construction
        if request.instructions:
            self.messages.append({"role": "system", "content": request.instructions})
        if isinstance(request.input, str):
            self.messages.append({"role": "user", "content": request.input})
            return
        for number, item in enumerate(request.input):
            self._take(item if is_object(item) else {}, f"input[{number}]")

    def _take(self, item: dict[str, Any], place: str) -> None:
        kind = item.get("type", "message" if "role" in item else None)
        if isinstance(kind, str) and kind in ITEMS:
            ITEMS[kind].check(item, place)
        match kind:
            case "message":
                self._message(item, place)
            case "reasoning":
                thought = "\n".join(_texts(item.get("content"), f"{place}.content"))
                self._new()["reasoning_content"] = thought or None
            case "function_call":
                said = self._said or self._new()
                said.setdefault("tool_calls", []).append(
                    {
                        "id": _word(item, "call_id", place),
                        "type": "function",
                        "function": {
                            "name": _word(item, "name", place),
                            "arguments": _arguments(item, place),
                        },
                    }
                )
            case "function_call_output":
                self._said = None
                output = item.get("output")
                text = output if isinstance(output, str) else None
                self.messages.append(
                    {
                        "role": "tool",
                        "tool_call_id": _word(item, "call_id", place),
                        "content": "\n".join(_texts(output, f"{place}.output"))
                        if text is None
                        else text,
                    }
                )
            case "item_reference":
                raise invalid(place, f"{place}: item_reference: {_NOTHING_KEPT}.")
            case _:
                raise invalid(
                    f"{place}.type",
                    f"{place}.type: expected message, reasoning, function_call or "
                    f"function_call_output, got {json.dumps(kind)[:80]}.",
                )

    def _message(self, item: dict[str, Any], place: str) -> None:
        role, content = item.get("role"), item.get("content")
        if role not in ("system", "developer", "user", "assistant"):
            raise invalid(
                f"{place}.role", f"{place}.role: expected system, developer, user or assistant."
            )
        texts = _texts(content, f"{place}.content")
        text = content if isinstance(content, str) else "\n".join(texts)
        if role != "assistant":
            self._said = None
            self.messages.append({"role": role, "content": text})
            return
        thinks = self._said is not None and not (
            self._said["content"] or self._said.get("tool_calls")
        )
        (self._said if thinks and self._said is not None else self._new())["content"] = text

    def _new(self) -> dict[str, Any]:
        self._said = {"role": "assistant", "content": ""}
        self.messages.append(self._said)
        return self._said


def _texts(content: Any, place: str) -> list[str]:
    """The texts of a content."""
    if content is None and not place.endswith(("output", "message")):
        return []
    if isinstance(content, str):
        return [content]
    if not is_list(content):
        raise invalid(place, f"{place}: it must be text, or a list of parts.")
    if len(content) > limits.MAX_PARTS:
        raise invalid(place, f"{place}: at most {limits.MAX_PARTS} parts are allowed.")
    texts: list[str] = []
    for number, part in enumerate(content):
        given = part if is_object(part) else {}
        kind = given.get("type")
        text = given.get("refusal" if kind == "refusal" else "text")
        if isinstance(kind, str) and kind in PARTS and isinstance(text, str):
            PARTS[kind].check(given, f"{place}[{number}]")
            texts.append(text)
        elif kind in ("input_image", "input_file", "input_audio"):
            raise invalid(
                f"{place}[{number}]",
                f"{place}[{number}]: this model accepts only text; URLs are not fetched.",
                code="unsupported_content",
            )
        else:
            raise invalid(
                f"{place}[{number}]",
                f'{place}[{number}]: expected {{"type": "input_text", "text": "..."}}.',
            )
    return texts


def _word(item: Mapping[str, Any], key: str, place: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise invalid(f"{place}.{key}", f"{place}.{key}: it must be text.")
    return value


def _arguments(item: Mapping[str, Any], place: str) -> str:
    text = item.get("arguments", "{}")
    try:
        whole = isinstance(text, str) and isinstance(json.loads(text or "{}"), dict)
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        where = f"{place}.arguments"
        raise invalid(where, f"{where}: it must be the text of a JSON object.")
    return text or "{}"
