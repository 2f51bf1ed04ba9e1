"""Nested fields of /v1: an unknown one is refused by name; what clients send back is accepted."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import openai.types.chat as sdk_chat
import openai.types.responses as sdk_responses
import openai.types.responses.response_input_param as sdk_items
import openai.types.shared_params as sdk_shared
import pytest
from tests.server.conftest import KEY
from tests.server.test_openai_tools import hermes

from tunery.server.anthropic import schemas as anthropic
from tunery.server.openai import prompts, responses_schema, schemas
from tunery.server.openai.fields import Fields
from tunery.server.openai.schemas import Strict

__all__ = ["hermes"]

DOCS = Path(__file__).parents[2] / "docs" / "serve.md"
SCHEMA = {"type": "object", "properties": {"zork": {"type": "string"}}}
HI = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


def said(**more: Any) -> dict[str, Any]:
    return {"messages": [HI, {"role": "assistant", "content": "Hi"} | more, HI]}


def part(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"} | more]}]}


def blocks(role: str, **block: Any) -> dict[str, Any]:
    messages = [HI, {"role": "assistant", "content": "Hi"}] if role == "user" else [HI]
    return {"messages": [*messages, {"role": role, "content": [block]}]}


CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
UNKNOWN = [
    (CHAT, {"messages": [HI | {"zork": 1}]}, "messages[0].zork", ""),
    (CHAT, {"messages": [HI | {"contnt": "x"}]}, "messages[0].contnt", "content"),
    (CHAT, {"messages": [HI | {"weight": 1}]}, "messages[0].weight", ""),
    (CHAT, part(zork=1), "messages[0].content[0].zork", ""),
    (CHAT, said(tool_calls=[CALL | {"zork": 1}]), "messages[1].tool_calls[0].zork", ""),
    (CHAT, {"stream": True, "stream_options": {"include_usag": True}},
     "stream_options.include_usag", "include_usage"),
    (CHAT, {"response_format": {"type": "text", "zork": 1}}, "response_format.zork", ""),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {
        "name": "x", "schema": SCHEMA, "strct": True}}},
     "response_format.json_schema.strct", "strict"),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "f", "paramters": SCHEMA}}]},
     "tools[0].function.paramters", "parameters"),
    (CHAT, {"tools": [TOOL], "tool_choice": {
        "type": "function", "function": {"name": "f"}, "zork": 1}}, "tool_choice.zork", ""),
    (MESSAGES, {"messages": [HI | {"zork": 1}]}, "messages[0].zork", ""),
    (MESSAGES, {"thinking": {"type": "enabled", "budget_tokns": 9}},
     "thinking.budget_tokns", "budget_tokens"),
    (MESSAGES, {"thinking": {"type": "enabled", "zork": 1}}, "thinking.zork", ""),
    (MESSAGES, {"system": [{"type": "text", "text": "x", "zork": 1}]}, "system[0].zork", ""),
    (MESSAGES, blocks("user", type="text", text="x", zork=1), "messages[2].content[0].zork", ""),
    (MESSAGES, blocks("user", type="tool_result", tool_use_id="t", content="x", is_eror=True),
     "messages[2].content[0].is_eror", "is_error"),
    (MESSAGES, blocks("assistant", type="tool_use", id="t", name="f", input={}, zork=1),
     "messages[1].content[0].zork", ""),
    (MESSAGES, {"output_config": {"zork": 1}}, "output_config.zork", ""),
    (RESPONSES, {"text": {"zork": 1}}, "text.zork", ""),
    (RESPONSES, {"reasoning": {"zork": 1}}, "reasoning.zork", ""),
    (RESPONSES, {"input": [HI | {"zork": 1}]}, "input[0].zork", ""),
    (RESPONSES, {"input": [HI | {"content": [{"type": "input_text", "text": "x", "zork": 1}]}]},
     "input[0].content[0].zork", ""),
]  # fmt: skip


@pytest.fixture
def post(running):
    client = running.raw()

    def send(path: str, fields: dict[str, Any]):
        body: dict[str, Any] = {"model": "stub", "temperature": 0}
        body |= {"input": "hello"} if path == RESPONSES else {"messages": [HI]}
        body |= {"max_tokens": 50} if path == MESSAGES else {}
        return client.post(path, json=body | fields, headers={"x-api-key": KEY})

    return send


@pytest.mark.parametrize(("path", "fields", "place", "near"), UNKNOWN)
def test_an_unknown_nested_field_is_refused_by_its_place(post, running, path, fields, place, near):
    answer = post(path, fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    nearest = f" Did you mean {near}?" if near else ""
    assert error["message"] == f"{place}: no such field.{nearest}"
    if path != MESSAGES:
        assert (error["param"], error["code"]) == (place, "unknown_parameter")
    assert running.engine.requests == []


SENT_BACK = [
    # openai: the message of an answer, dumped whole, also as its parse helper returns it
    (CHAT, said(refusal=None, annotations=[], audio=None, function_call=None, tool_calls=None,
                parsed=None)),
    (CHAT, said(content=None, refusal="I cannot do that.")),
    (CHAT, said(reasoning_content="Hm.", name="me")),
    (CHAT, said(reasoning="Hm.", provider_specific_fields={"a": 1})),
    # deltas of a stream that were put together
    (CHAT, said(tool_calls=[CALL | {"index": 0}])),
    (CHAT, said(tool_calls=[CALL | {"function": CALL["function"] | {"parsed_arguments": {}}}])),
    (CHAT, {"messages": [HI, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                         {"role": "tool", "tool_call_id": "c1", "content": "x", "name": "f"}]}),
    (CHAT, part(cache_control={"type": "ephemeral"})),
    (CHAT, {"stream": False, "response_format": {"type": "json_schema", "json_schema": {
        "name": "x", "schema": SCHEMA, "strict": True, "description": "d"}}}),
    (CHAT, {"tools": [{"type": "function", "function": {
        "name": "f", "parameters": SCHEMA, "strict": True, "description": "d"}}]}),
    (MESSAGES, {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}),
    (MESSAGES, blocks("assistant", type="text", text="x", citations=None)),
    (MESSAGES, blocks("assistant", type="thinking", thinking="x", signature="y")),
    (MESSAGES, {"messages": [
        HI,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {},
                                           "caller": {"type": "direct"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": "x", "is_error": False,
             "cache_control": {"type": "ephemeral"}}]}]}),
    (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (MESSAGES, {"tools": [{"name": "f", "input_schema": SCHEMA, "strict": True,
                           "cache_control": {"type": "ephemeral"},
                           "eager_input_streaming": True}]}),
    (RESPONSES, {"input": [
        HI,
        {"type": "reasoning", "id": "rs_1", "summary": [], "status": None, "content": [],
         "encrypted_content": None},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
            {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}",
         "status": "completed"},
        {"type": "function_call_output", "call_id": "c1", "output": "x", "id": "o",
         "status": "completed"}]}),
    (RESPONSES, {"reasoning": {"effort": "low", "summary": "auto"}}),
    (RESPONSES, {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA,
                                     "strict": True, "description": "d"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "fields"), SENT_BACK)
def test_what_clients_send_or_send_back_is_accepted(post, hermes, path, fields):
    answer = post(path, fields)
    assert answer.status_code == 200, answer.text


def test_a_refusal_and_thinking_that_are_sent_back_reach_the_template(post, running):
    post(CHAT, said(content=None, refusal="I cannot do that."))
    post(CHAT, said(reasoning="Hm."))
    first, second = (asked.messages[1] for asked in running.engine.requests)
    assert first["content"] == "I cannot do that."
    assert second["reasoning_content"] == "Hm."


def test_an_answer_of_the_client_goes_back_as_it_is(client, running):
    first = client.chat.completions.create(model="stub", messages=[HI])
    again = [HI, first.choices[0].message, HI]
    assert client.chat.completions.create(model="stub", messages=again).choices
    answer = client.responses.create(model="stub", input="hello")
    assert client.responses.create(model="stub", input=[HI, *answer.output, HI]).output_text


def test_a_field_that_would_change_the_answer_must_be_null(post):
    for name, value in (("audio", {"id": "x"}), ("function_call", {"name": "f"})):
        error = post(CHAT, said(**{name: value})).json()["error"]
        assert error["message"].startswith(f"messages[1].{name}: not supported; ")
        assert error["code"] == "unsupported_parameter"


def sdk_fields(kind: Any) -> set[str]:
    names = getattr(kind, "model_fields", None) or typing.get_type_hints(kind)
    return {name.rstrip("_") for name in names}


FROM_SDK: list[tuple[type[Strict] | Fields, Any]] = [
    (schemas.Message, sdk_chat.ChatCompletionAssistantMessageParam),
    (schemas.Message, sdk_chat.ChatCompletionMessage),
    (schemas.Message, sdk_chat.ParsedChatCompletionMessage),
    (schemas.Message, sdk_chat.ChatCompletionToolMessageParam),
    (schemas.Message, sdk_chat.ChatCompletionUserMessageParam),
    (schemas.Call, sdk_chat.ChatCompletionMessageFunctionToolCallParam),
    (schemas.CalledFunction, sdk_chat.ParsedFunction),
    (schemas.Tool, sdk_chat.ChatCompletionFunctionToolParam),
    (schemas.Function, sdk_shared.FunctionDefinition),
    (schemas.StreamOptions, sdk_chat.ChatCompletionStreamOptionsParam),
    (schemas.ResponseFormat, sdk_shared.ResponseFormatJSONSchema),
    (prompts.PARTS["text"], sdk_chat.ChatCompletionContentPartTextParam),
    (prompts.PARTS["refusal"], sdk_chat.ChatCompletionContentPartRefusalParam),
    (responses_schema.ResponseTool, sdk_responses.FunctionToolParam),
    (responses_schema.TextSettings, sdk_responses.ResponseTextConfigParam),
    (responses_schema.TextFormat, sdk_responses.ResponseFormatTextJSONSchemaConfigParam),
    (responses_schema.Reasoning, sdk_shared.Reasoning),
    (responses_schema.ITEMS["message"], sdk_items.EasyInputMessageParam),
    (responses_schema.ITEMS["message"], sdk_responses.ResponseOutputMessage),
    (responses_schema.ITEMS["reasoning"], sdk_responses.ResponseReasoningItem),
    (responses_schema.ITEMS["function_call"], sdk_responses.ParsedResponseFunctionToolCall),
    (responses_schema.ITEMS["function_call_output"], sdk_items.FunctionCallOutput),
    (responses_schema.PARTS["input_text"], sdk_responses.ResponseInputTextParam),
    (responses_schema.PARTS["output_text"], sdk_responses.ParsedResponseOutputText),
    (responses_schema.PARTS["refusal"], sdk_responses.ResponseOutputRefusal),
]


@pytest.mark.parametrize(("ours", "theirs"), FROM_SDK)
def test_every_field_that_the_client_knows_is_answered_by_name(ours, theirs):
    assert sdk_fields(theirs) <= known_fields(ours)


def known_fields(ours: type[Strict] | Fields) -> set[str]:
    if isinstance(ours, Fields):
        return {*ours.known, *ours.ignored}
    names = {each.alias or name for name, each in ours.model_fields.items()}
    return names | ours.ignored | set(ours.refused)


def test_every_field_that_is_ignored_is_listed_in_the_docs():
    models = [
        each
        for module in (schemas, responses_schema, anthropic)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Strict)
    ]
    tables = (prompts.PARTS, responses_schema.PARTS, responses_schema.ITEMS, anthropic.BLOCKS)
    ignored = {name for model in models for name in model.ignored}
    ignored |= {name for table in tables for each in table.values() for name in each.ignored}
    text = DOCS.read_text()
    assert sorted(name for name in ignored if f"`{name}`" not in text) == []
