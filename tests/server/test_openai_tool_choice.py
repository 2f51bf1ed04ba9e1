"""Which tools may be called: some of them, and calls beside an answer that follows a schema."""

from __future__ import annotations

import json

import pytest
from tests.server.test_openai_tools import CALL, CLOCK, WEATHER, hermes, say

from tunery.chat.tool_calls import GLM4, HERMES, LLAMA3
from tunery.server.openai.prompts import Reader, of_chat
from tunery.server.openai.schemas import ChatRequest

__all__ = ["hermes"]

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}


def allowed(mode, *names):
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def test_the_model_sees_only_the_tools_that_are_allowed(client, hermes):
    hermes.answer = "Hello."
    answer = say(client, tools=[WEATHER, CLOCK], tool_choice=allowed("auto", "clock"))
    assert answer.choices[0].message.content == "Hello."
    assert hermes.requests[-1].tools == [CLOCK]
    assert hermes.requests[-1].json_schema is None


def test_one_of_the_allowed_tools_can_be_required(client, hermes):
    answer = say(client, tools=[WEATHER, CLOCK], tool_choice=allowed("required", "clock"))
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "clock"
    assert answer.choices[0].finish_reason == "tool_calls"


def test_an_answer_follows_its_schema_or_is_a_call(client, hermes):
    for said, content, calls in (
        ('{"city": "Rome"}', '{"city": "Rome"}', []),
        (CALL, None, ["weather"]),
    ):
        hermes.answer = said
        (choice,) = say(client, tools=[WEATHER], response_format=FORMAT).choices
        assert choice.message.content == content
        assert [call.function.name for call in choice.message.tool_calls or []] == calls
    asked = hermes.requests[-1]
    assert asked.json_schema == CITY
    assert asked.schema_unless == ("<tool_call>",)
    assert asked.tools == [WEATHER]


def test_a_call_that_must_be_made_comes_before_the_format(client, hermes):
    answer = say(client, tools=[WEATHER], tool_choice="required", response_format=FORMAT)
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"


@pytest.mark.parametrize(
    ("syntax", "unless"),
    [(HERMES, ("<tool_call>",)), (LLAMA3, ("<|python_tag|>",)), (GLM4, ("weather\n",))],
)
def test_each_family_may_begin_its_calls(syntax, unless):
    request = ChatRequest.model_validate(
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [WEATHER],
         "response_format": FORMAT}
    )  # fmt: skip
    asked = of_chat(request, Reader(), syntax)
    assert asked.schema_unless == unless
    if syntax is LLAMA3:  # it writes its calls as bare JSON
        bare = asked.json_schema["anyOf"][1]
        assert bare["properties"]["name"] == {"enum": ["weather"]}
        assert asked.json_schema["anyOf"][0] == CITY
    else:
        assert asked.json_schema == CITY


def test_a_llama_s_bare_call_and_a_schema_s_object_are_told_apart(client, running, monkeypatch):
    source = "{{ tools }} <|python_tag|>"
    monkeypatch.setattr("tunery.services.chat._serving.template_source", lambda found: source)
    for said, name in (
        ('{"name": "weather", "parameters": {"city": "Rome"}}', "weather"),
        ('{"city": "Rome"}', None),
    ):
        running.engine.answer = said
        (choice,) = say(client, tools=[WEATHER], response_format=FORMAT).choices
        if name:
            (call,) = choice.message.tool_calls
            assert (call.function.name, json.loads(call.function.arguments)) == (
                name, {"city": "Rome"},
            )  # fmt: skip
        else:
            assert choice.message.content == said
            assert not choice.message.tool_calls
