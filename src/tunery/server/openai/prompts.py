"""Requests for the engine: messages, tools, sampling, and the schema of the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunery.chat.tool_calls import HERMES, Syntax
from tunery.engines.base import GenerateRequest, SamplingOptions
from tunery.server.openai import limits
from tunery.server.openai.answer_schema import allowed_tools, schema_of
from tunery.server.openai.errors import Refused, invalid
from tunery.server.openai.fields import fields
from tunery.server.openai.schemas import (
    Call,
    ChatRequest,
    CompletionRequest,
    Message,
)
from tunery.types import is_list, is_object

_TEMPLATE_OWN = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"}
)

PARTS = {
    "text": fields("type text", "cache_control prompt_cache_breakpoint"),
    "refusal": fields("type refusal"),
}
"""The content parts of a message."""


@dataclass(frozen=True, slots=True)
class Reader:
    """The model that will read the request.

    Args:
        adapter: Folder of its adapter.
        context_length: Tokens of prompt and answer together; 0 if unknown.
        template: Name of its chat template, if it was trained with one other than its own.
    """

    adapter: str | None = None
    context_length: int = 0
    template: str | None = None


def of_chat(request: ChatRequest, reader: Reader, syntax: Syntax = HERMES) -> GenerateRequest:
    """Convert a chat request to an engine request.

    Args:
        request: The validated request.
        reader: The model that will answer.
        syntax: How that model writes tool calls.

    Raises:
        Refused: A message, schema or setting cannot be used, or it is too long.
    """
    messages = [_message(m, f"messages[{i}]") for i, m in enumerate(request.messages)]
    _check_order(request, messages)
    tools = allowed_tools(request)
    _check_length([*map(_letters, messages), _letters(tools)], reader, "messages")
    schema, unless = schema_of(request, tools, syntax)
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
        schema_unless=unless,
        template=reader.template,
        template_values=_template_values(request, forced=schema is not None),
        continue_last=request.continue_final_message,
    )


def of_completion(request: CompletionRequest, reader: Reader) -> list[GenerateRequest]:
    """Convert a completion request to one engine request per prompt.

    Raises:
        Refused: A prompt is too long.
    """
    texts = [prompt for prompt in request.prompt if isinstance(prompt, str)]
    _check_length([len(text) for text in texts] or [0], reader, "prompt", each=True)
    default = 16  # OpenAI's default
    most = _max_tokens(default if request.max_tokens is None else request.max_tokens, reader)
    return [
        GenerateRequest(
            prompt=prompt if isinstance(prompt, str) else None,
            prompt_ids=None if isinstance(prompt, str) else prompt,
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
    """Reject tools if the model's chat template would not show them.

    Raises:
        Refused: The template never reads ``tools``.
    """
    if asked.tools and "tools" not in template:
        raise invalid(
            "tools",
            "tools: this model's chat template does not support them. Leave them out, or serve a "
            "model that was trained with tools.",
            code="unsupported_parameter",
        )


def sampling(request: ChatRequest | CompletionRequest) -> SamplingOptions:
    """The sampling options; a seed of any size is reduced to the range that engines accept."""
    return SamplingOptions(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=max(0, request.top_k),
        min_p=request.min_p,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        repetition_penalty=request.repetition_penalty,
        logit_bias={int(key): value for key, value in request.logit_bias.items()},
        seed=None if request.seed is None else request.seed % limits.SEEDS,
    )


def _message(message: Message, place: str) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    said = message.refusal if message.content is None else message.content
    told: dict[str, Any] = {"role": role, "content": _text(said, f"{place}.content")}
    if role == "assistant":
        if message.tool_calls:
            told["tool_calls"] = [
                _call(call, f"{place}.tool_calls[{i}]") for i, call in enumerate(message.tool_calls)
            ]
        elif said is None:
            raise invalid(f"{place}.content", f"{place}: it has neither content nor tool_calls.")
        if message.thinking:
            told["reasoning_content"] = message.thinking
    elif message.tool_calls:
        raise invalid(
            f"{place}.tool_calls", f"{place}: only assistant messages can have tool_calls."
        )
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
    """The text of a content: a string, or its text parts joined with line breaks."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not is_list(content):
        raise invalid(place, f"{place}: must be text, or a list of parts.")
    if len(content) > limits.MAX_PARTS:
        raise invalid(place, f"{place}: at most {limits.MAX_PARTS} parts are allowed.")
    return "\n".join(_part(part, f"{place}[{i}]") for i, part in enumerate(content))


def _part(part: Any, place: str) -> str:
    given = part if is_object(part) else {}
    match given.get("type"):
        case "text" | "refusal" as kind if isinstance(text := given.get(kind), str):
            PARTS[kind].check(given, place)
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
        f"{place}: this model accepts only text, not {what}. URLs are not fetched.",
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
    last = messages[-1]["role"]
    if request.continue_final_message:
        if last != "assistant" or messages[-1].get("tool_calls"):
            raise invalid(
                "continue_final_message",
                "continue_final_message: the last message must be the assistant's text.",
            )
        if request.add_generation_prompt:
            raise invalid(
                "add_generation_prompt",
                "add_generation_prompt: with continue_final_message=true, send false or leave it "
                "out.",
            )
    elif request.add_generation_prompt is False:
        raise invalid(
            "add_generation_prompt",
            "add_generation_prompt: false requires continue_final_message=true.",
        )


def _one_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge system and developer messages at the start: templates accept only one."""
    others = (i for i, message in enumerate(messages) if message["role"] != "system")
    first = next(others, len(messages))
    if first < 2:
        return messages
    text = "\n\n".join(message["content"] for message in messages[:first])
    return [{"role": "system", "content": text}, *messages[first:]]


def _template_values(request: ChatRequest, *, forced: bool) -> dict[str, Any]:
    """Values for the template: the client's, and thinking as requested."""
    for key, value in request.chat_template_kwargs.items():
        where = f"chat_template_kwargs.{key[:40]}"
        if key in _TEMPLATE_OWN:
            raise invalid(where, f"{where}: this value is set by the server.")
        if not isinstance(value, str | int | float | bool) or len(str(value)) > 256:
            raise invalid(where, f"{where}: it must be a short text, a number, true or false.")
    values: dict[str, Any] = {}
    if request.reasoning_effort == "none" or forced:  # the schema applies from the first token on
        values["enable_thinking"] = False
    if request.reasoning_effort not in (None, "none"):
        values |= {"reasoning_effort": request.reasoning_effort, "enable_thinking": not forced}
    if request.enable_thinking is not None and not forced:
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
            f"The prompt has {found} characters; more than {most} cannot fit this model's context "
            f"of {reader.context_length} tokens.",
            param=param,
            code="context_length_exceeded",
        )


def _letters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if is_object(value):
        return sum(len(key) + _letters(inner) for key, inner in value.items())
    return sum(map(_letters, value)) if is_list(value) else 0
