"""Requests in the engine's words: messages, tools, sampling, and the schema of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunery.engines.base import GenerateRequest, SamplingOptions
from tunery.server.openai import limits
from tunery.server.openai.errors import Refused, invalid
from tunery.server.openai.schemas import (
    Call,
    ChatRequest,
    CompletionRequest,
    Message,
    NamedTool,
)
from tunery.types import is_list, is_object

_TEMPLATE_OWN = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"}
)


@dataclass(frozen=True, slots=True)
class Reader:
    """The model that will read the request.

    Args:
        adapter: Folder of the adapter it wears.
        context_length: Tokens of prompt and answer together; 0 where it is not known.
        template: Name of its chat template, where it was trained with one not its own.
    """

    adapter: str | None = None
    context_length: int = 0
    template: str | None = None


def of_chat(request: ChatRequest, reader: Reader) -> GenerateRequest:
    """Turn a chat request into the engine's.

    Raises:
        Refused: A message, schema or setting cannot be used, or it is too long.
    """
    messages = [_message(m, f"messages[{i}]") for i, m in enumerate(request.messages)]
    _check_order(request, messages)
    tools = [] if request.tool_choice == "none" else _tools(request)
    _check_length([*map(_letters, messages), _letters(tools)], reader, "messages")
    schema = _schema(request)
    return GenerateRequest(
        messages=_one_system(messages),
        tools=tools or None,
        adapter=reader.adapter,
        max_tokens=_max_tokens(request.max_completion_tokens or request.max_tokens, reader),
        stop=tuple(request.stop),
        sampling=sampling(request),
        num_answers=request.n,
        top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        json_schema=schema,
        template=reader.template,
        template_values=_template_values(request, forced=schema is not None),
        continue_last=request.continue_final_message,
    )


def of_completion(request: CompletionRequest, reader: Reader) -> list[GenerateRequest]:
    """Turn a request for completions into one engine request for each prompt.

    Raises:
        Refused: A prompt is too long.
    """
    _check_length([len(prompt) for prompt in request.prompt], reader, "prompt", each=True)
    default = 16  # OpenAI's
    most = _max_tokens(default if request.max_tokens is None else request.max_tokens, reader)
    return [
        GenerateRequest(
            prompt=prompt,
            adapter=reader.adapter,
            max_tokens=most,
            stop=tuple(request.stop),
            sampling=sampling(request),
            num_answers=request.n,
            top_logprobs=request.logprobs,
        )
        for prompt in request.prompt
    ]


def check_tools(asked: GenerateRequest, template: str) -> None:
    """Refuse tools where the model's chat template would not show them.

    Raises:
        Refused: The template never reads ``tools``.
    """
    if asked.tools and "tools" not in template:
        raise invalid(
            "tools",
            "tools: this model's chat template has no place for them. Leave them out, or serve a "
            "model that was trained with tools.",
            code="unsupported_parameter",
        )


def sampling(request: ChatRequest | CompletionRequest) -> SamplingOptions:
    """How tokens are drawn; a seed of any size is folded to what every engine takes."""
    return SamplingOptions(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=max(0, request.top_k),
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        repetition_penalty=request.repetition_penalty,
        logit_bias={int(key): value for key, value in request.logit_bias.items()},
        seed=None if request.seed is None else request.seed % limits.SEEDS,
    )


def forces_call(request: ChatRequest) -> bool:
    """Whether the answer can be nothing but calls."""
    return request.tool_choice == "required" or isinstance(request.tool_choice, NamedTool)


def _message(message: Message, place: str) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    told: dict[str, Any] = {"role": role, "content": _text(message.content, f"{place}.content")}
    if role == "assistant":
        if message.tool_calls:
            told["tool_calls"] = [
                _call(call, f"{place}.tool_calls[{i}]") for i, call in enumerate(message.tool_calls)
            ]
        elif message.content is None:
            raise invalid(f"{place}.content", f"{place}: it has neither content nor tool_calls.")
        if message.reasoning_content:
            told["reasoning_content"] = message.reasoning_content
    elif message.tool_calls:
        raise invalid(f"{place}.tool_calls", f"{place}: only the assistant calls tools.")
    elif message.content is None:
        raise invalid(f"{place}.content", f"{place}.content: it is missing.")
    if role == "tool":
        if not message.tool_call_id:
            raise invalid(f"{place}.tool_call_id", f"{place}.tool_call_id: it is missing.")
        told["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        told["name"] = message.name
    return told


def _text(content: Any, place: str) -> str:
    """The text of a content: as it stands, or the text parts, a line break between two."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not is_list(content):
        raise invalid(place, f"{place}: it must be text, or a list of parts.")
    if len(content) > limits.MAX_PARTS:
        raise invalid(place, f"{place}: at most {limits.MAX_PARTS} parts are taken.")
    return "\n".join(_part(part, f"{place}[{i}]") for i, part in enumerate(content))


def _part(part: Any, place: str) -> str:
    given = part if is_object(part) else {}
    match given.get("type"):
        case "text" | "refusal" as kind if isinstance(text := given.get(kind), str):
            return text
        case "image_url" | "input_image" | "image":
            what = "images"
        case "input_audio" | "audio" | "audio_url":
            what = "sound"
        case "file" | "input_file" | "video_url" | "video":
            what = "files"
        case _:
            raise invalid(place, f'{place}: expected {{"type": "text", "text": "..."}}.')
    raise invalid(
        place,
        f"{place}: this model reads text, not {what}. Nothing is fetched from an address either.",
        code="unsupported_content",
    )


def _call(call: Call, place: str) -> dict[str, Any]:
    text = call.function.arguments or "{}"
    try:
        whole = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        where = f"{place}.function.arguments"
        raise invalid(where, f"{where}: it must be the text of a JSON object.")
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.function.name, "arguments": text},
    }


def _check_order(request: ChatRequest, messages: Sequence[Mapping[str, Any]]) -> None:
    if all(message["role"] == "system" for message in messages):
        raise invalid("messages", "messages: someone besides the system must have spoken.")
    last = messages[-1]["role"]
    if request.continue_final_message:
        if last != "assistant" or messages[-1].get("tool_calls"):
            raise invalid(
                "continue_final_message",
                "continue_final_message: the last message must be the assistant's text.",
            )
    elif last == "assistant":
        raise invalid(
            "messages",
            "messages: the last one is the assistant's. Send continue_final_message=true to have "
            "it continued.",
        )


def _one_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """System and developer messages at the start become one: templates take one."""
    first = next(i for i, message in enumerate(messages) if message["role"] != "system")
    if first < 2:
        return messages
    text = "\n\n".join(message["content"] for message in messages[:first])
    return [{"role": "system", "content": text}, *messages[first:]]


def _tools(request: ChatRequest) -> list[dict[str, Any]]:
    chosen = request.tool_choice
    only = chosen.function.name if isinstance(chosen, NamedTool) else None
    return [
        tool.model_dump(exclude_none=True)
        for tool in request.tools
        if only is None or tool.function.name == only
    ]


def _schema(request: ChatRequest) -> dict[str, Any] | None:
    if forces_call(request):
        schema = _call_schema(request)
    else:
        schema = _answer_schema(request)
    if schema is not None:
        _check_schema(schema)
    return schema


def _answer_schema(request: ChatRequest) -> dict[str, Any] | None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if request.tools and request.tool_choice != "none":
        raise invalid(
            "response_format",
            "response_format: an answer cannot follow a schema and be free to call tools. Leave "
            "out tools, or send tool_choice=none.",
        )
    if wanted.type == "json_object":
        return {"type": "object"}
    if wanted.json_schema is None or wanted.json_schema.schema_ is None:
        where = "response_format.json_schema.schema"
        raise invalid(where, f"{where}: it is missing.")
    return wanted.json_schema.schema_


def _call_schema(request: ChatRequest) -> dict[str, Any]:
    """A schema of calls: one, or a list of at least one."""
    definitions: dict[str, Any] = {}
    calls = [_one_call(tool["function"], definitions) for tool in _tools(request)]
    one = calls[0] if len(calls) == 1 else {"anyOf": calls}
    schema = one
    if request.parallel_tool_calls and request.tool_choice == "required":
        schema = {"type": "array", "items": one, "minItems": 1, "maxItems": 8}
    return {**schema, "$defs": definitions} if definitions else schema


def _one_call(function: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {"type": "object", **(function.get("parameters") or {})}
    if '"$ref"' in json.dumps(arguments):  # its references begin at its own root
        place = f"tool{len(definitions)}"
        definitions[place] = _moved(arguments, f"#/$defs/{place}")
        arguments = {"$ref": f"#/$defs/{place}"}
    return {
        "type": "object",
        "properties": {"name": {"enum": [function["name"]]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(value: Any, root: str) -> Any:
    if is_object(value):
        return {
            key: root + inner[1:]
            if key == "$ref" and isinstance(inner, str) and inner.startswith("#")
            else _moved(inner, root)
            for key, inner in value.items()
        }
    return [_moved(item, root) for item in value] if is_list(value) else value


def _check_schema(schema: Mapping[str, Any]) -> None:
    size = len(json.dumps(schema))
    if size > limits.MAX_SCHEMA_LETTERS:
        raise invalid(
            "response_format",
            f"The JSON schema has {size} letters; at most {limits.MAX_SCHEMA_LETTERS} are taken.",
            code="bad_schema",
        )
    for reference in _references(schema):
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise invalid(
                "response_format",
                "The JSON schema refers to something outside itself; nothing is fetched.",
                code="bad_schema",
            )


def _references(value: Any) -> Iterable[Any]:
    if is_object(value):
        for key, inner in value.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and not isinstance(inner, dict):
                yield inner
            yield from _references(inner)
    elif is_list(value):
        for inner in value:
            yield from _references(inner)


def _template_values(request: ChatRequest, *, forced: bool) -> dict[str, Any]:
    """What the template is told: the caller's values, and thinking as the request wants it."""
    for key, value in request.chat_template_kwargs.items():
        where = f"chat_template_kwargs.{key[:40]}"
        if key in _TEMPLATE_OWN:
            raise invalid(where, f"{where}: the server sets this one.")
        if not isinstance(value, str | int | float | bool) or len(str(value)) > 256:
            raise invalid(where, f"{where}: it must be a short text, a number, true or false.")
    values: dict[str, Any] = {}
    if request.reasoning_effort == "none" or forced:  # the schema holds from the first token on
        values["enable_thinking"] = False
    if request.reasoning_effort not in (None, "none"):
        values |= {"reasoning_effort": request.reasoning_effort, "enable_thinking": not forced}
    if request.enable_thinking is not None:
        values["enable_thinking"] = request.enable_thinking
    return values | request.chat_template_kwargs


def _max_tokens(asked: int | None, reader: Reader) -> int | None:
    if asked is not None and reader.context_length and asked > reader.context_length:
        raise invalid(
            "max_tokens",
            f"max_tokens: {asked} is more than this model's context of {reader.context_length} "
            "tokens.",
        )
    return asked


def _check_length(
    lengths: Sequence[int], reader: Reader, param: str, *, each: bool = False
) -> None:
    most = reader.context_length * limits.LETTERS_A_TOKEN
    found = max(lengths) if each else sum(lengths)
    if most and found > most:
        raise Refused(
            400,
            f"The prompt has {found} letters; more than {most} cannot fit this model's context of "
            f"{reader.context_length} tokens.",
            param=param,
            code="context_length_exceeded",
        )


def _letters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if is_object(value):
        return sum(len(key) + _letters(inner) for key, inner in value.items())
    return sum(map(_letters, value)) if is_list(value) else 0
