"""Turns a request into the prompt's tokens: a rendered chat template, or raw text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tunery.chat.control import Marked, unmark
from tunery.chat.history import too_long
from tunery.chat.template import ChatTemplate
from tunery.decode.served import ServedModel
from tunery.engines.base import GenerateRequest
from tunery.errors import DataError, EngineError
from tunery.i18n import t
from tunery.types import Message, Role, ToolCall

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt of a request: its token ids, its text, and the stop tokens."""

    ids: list[int]
    text: str
    stop_ids: frozenset[int]


def read_prompt(model: ServedModel, request: GenerateRequest, adapter: str | None) -> Prompt:
    """Render and encode a request's prompt.

    Raises:
        EngineError: ``too_long``, or ``bad_template``: the template cannot render a message.
    """
    template = model.template_for(adapter, request.template)
    stop_ids = template.stop_ids if request.stop_ids is None else frozenset(request.stop_ids)
    if request.prompt_ids is not None:
        ids = list(request.prompt_ids)
        _check_ids(model, ids)
        text = template.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return Prompt(ids, text, stop_ids)
    if model.surely_too_long(_all_text(request)):
        raise EngineError(
            t("The prompt is longer than the model's limit of {limit} tokens.",
              limit=model.context_length),
            fix=t("Shorten it."),
            code="too_long",
        )  # fmt: skip
    try:
        marked = _raw(template, request.prompt) if request.prompt is not None else None
        if marked is None:
            marked, ids = _conversation(template, request)
        else:
            ids = _beginning(template) + template.encoder.encode(marked)
    except DataError as error:
        raise EngineError(error.message, fix=_remedy(error), code="bad_template") from error
    _check_ids(model, ids)
    return Prompt(ids, marked.text, stop_ids)


def check_scored(model: ServedModel, ids: Sequence[int]) -> list[int]:
    """Check token ids that are to be scored.

    Raises:
        EngineError: ``too_long``, or there are none, or one is not in the vocabulary.
    """
    _check_ids(model, list(ids), room=0)
    return list(ids)


def _check_ids(model: ServedModel, ids: list[int], *, room: int = 1) -> None:
    if not ids:
        raise EngineError(
            t("The prompt is empty."), fix=t("Enter some text to continue."), code="bad_template"
        )
    if len(ids) + room > model.context_length:
        raise too_long(len(ids), model.context_length)
    foreign = [token for token in ids if not 0 <= token < model.vocab_size]
    if foreign:
        raise EngineError(
            t("The prompt has token {token}; this model's tokens are 0 to {last}.",
              token=foreign[0], last=model.vocab_size - 1),
            code="bad_request",
        )  # fmt: skip


def to_message(value: Mapping[str, Any]) -> Message:
    """Parse one message in OpenAI's format.

    Raises:
        EngineError: ``bad_template``: the role is unknown, or the content is not text.
    """
    role = {"developer": "system", "function": "tool"}.get(
        str(value.get("role")), value.get("role")
    )
    if role not in ROLES:
        raise EngineError(
            t("A message has the role {role}; expected one of: {names}.", role=role,
              names=", ".join(ROLES)),
            code="bad_template",
        )  # fmt: skip
    thinking = value.get("reasoning_content") or value.get("thinking")
    return Message(
        cast(Role, role),
        _content(value.get("content")),
        thinking=str(thinking) if thinking else None,
        tool_calls=tuple(_call(call) for call in value.get("tool_calls") or ()),
        tool_call_id=value.get("tool_call_id"),
        name=value.get("name"),
    )


def _conversation(template: ChatTemplate, request: GenerateRequest) -> tuple[Marked, list[int]]:
    messages = [to_message(value) for value in request.messages or ()]
    begun = ""
    if request.continue_last and messages and messages[-1].role == "assistant":
        begun = messages.pop().content
    values = dict(request.template_values)
    thinking = "off" if values.get("enable_thinking") is False else "strip_history"
    tools = [dict(tool) for tool in request.tools or ()]
    _check_places(template, messages, with_tools=bool(tools))
    marked = template.prompt(messages, tools, thinking=thinking, values=values)
    ids = template.encoder.encode(marked)
    if begun:
        rest = unmark(template.control.mark(begun, assistant=True))
        ids = ids + template.encoder.encode_rest(rest)
        marked = Marked(marked.text + rest.text, marked.literal)
    return marked, ids


def _check_places(template: ChatTemplate, messages: Sequence[Message], *, with_tools: bool) -> None:
    """Refuse what the template would lose, in words for a request: it has no rows or settings."""
    calls = any(message.tool_calls or message.role == "tool" for message in messages)
    features = template.features
    if (with_tools and not features.lists_tools) or (calls and features.call_shape is None):
        raise EngineError(
            t("This model's chat template has no place for tools, tool calls or tool results."),
            fix=t(
                "Leave them out, or use a model whose chat template supports tools; for a run, "
                "choose such a template when training."
            ),
            code="bad_template",
        )
    if features.loses_system and any(message.role == "system" for message in messages):
        raise EngineError(
            t("This model's chat template has no place for system messages."),
            fix=t("Move the text into the first user message."),
            code="bad_template",
        )


def _remedy(error: DataError) -> str:
    """What a client can do: it cannot choose another template."""
    match error.code:
        case "E416":
            return t("Change the messages: their roles, their order or the system message.")
        case "E417":
            return t("Use a model with another chat template.")
        case _:
            return error.fix


def _raw(template: ChatTemplate, text: str) -> Marked:
    return unmark(template.control.mark(text))


def _beginning(template: ChatTemplate) -> list[int]:
    """BOS, if the tokenizer adds it before every text."""
    bos = template.tokenizer.bos_token_id
    return [bos] if bos is not None and bos in template.tokenizer.encode("") else []


def _all_text(request: GenerateRequest) -> str:
    if request.prompt is not None:
        return request.prompt
    return "".join(_content(message.get("content")) for message in request.messages or ())


def _content(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts: list[Any] = [part.get("text") if isinstance(part, dict) else part for part in value]
        if all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
    raise EngineError(
        t("The content of a message must be text; this model supports nothing else."),
        code="bad_template",
    )


def _call(value: Mapping[str, Any]) -> ToolCall:
    function = value.get("function") or value
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    if not isinstance(arguments, dict):
        raise EngineError(
            t("The arguments of a tool call must be a JSON object."), code="bad_template"
        )
    return ToolCall(str(function.get("name", "")), arguments, value.get("id"))
