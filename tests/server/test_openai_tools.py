"""Tools through the real client: offered, forced, called in parallel, streamed, answered."""

from __future__ import annotations

import json

import openai
import pytest

ASK = [{"role": "user", "content": "Weather in Paris?"}]


def tool(name, **properties):
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER = tool("weather", city={"type": "string"})
CLOCK = tool("clock", zone={"type": "string"})
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris, France"}}\n</tool_call>'


@pytest.fixture
def hermes(running, monkeypatch):
    """A model whose template writes calls as Hermes does."""
    monkeypatch.setattr(
        "tunery.services.chat._serving.template_source", lambda found: "{{ tools }} <tool_call>"
    )
    return running.engine


def say(client, **more):
    return client.chat.completions.create(**{"model": "stub", "messages": ASK} | more)


def joined(chunks):
    """What a client puts together from a stream."""
    calls: dict[int, dict[str, str]] = {}
    content, reason = "", None
    for chunk in chunks:
        choice = chunk.choices[0]
        content += choice.delta.content or ""
        reason = choice.finish_reason or reason
        for part in choice.delta.tool_calls or []:
            call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += part.id or ""
            call["name"] += part.function.name or ""
            call["arguments"] += part.function.arguments or ""
    return content, calls, reason


def test_a_call_is_taken_out_of_the_text(client, hermes):
    hermes.answer = f"I shall look.\n{CALL}"
    answer = say(client, tools=[WEATHER])
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I shall look."
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "weather")
    assert json.loads(call.function.arguments) == {"city": "Paris, France"}
    assert call.id.startswith("call_")
    assert hermes.requests[-1].tools == [WEATHER]


def test_calls_are_streamed_as_they_come(client, hermes):
    hermes.answer = f"{CALL}\n{CALL.replace('Paris', 'Rome')}"
    chunks = list(say(client, tools=[WEATHER], stream=True))
    content, calls, reason = joined(chunks)
    assert (content, reason) == ("", "tool_calls")
    assert [json.loads(call["arguments"])["city"][:4] for call in calls.values()] == [
        "Pari",
        "Rome",
    ]
    assert len({call["id"] for call in calls.values()}) == 2
    parts = [c.choices[0].delta.tool_calls for c in chunks if c.choices[0].delta.tool_calls]
    assert len(parts) > 4  # not all at once


def test_a_message_with_a_call_alone_has_no_content(client, hermes):
    hermes.answer = CALL
    assert say(client, tools=[WEATHER]).choices[0].message.content is None


def test_tools_that_are_not_to_be_used_are_not_offered(client, hermes):
    hermes.answer = CALL
    answer = say(client, tools=[WEATHER], tool_choice="none")
    assert hermes.requests[-1].tools is None
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].message.content == CALL


def test_a_call_that_was_cut_off_ends_by_its_length(client, hermes):
    hermes.answer = CALL
    answer = say(client, tools=[WEATHER], max_tokens=4)
    assert answer.choices[0].finish_reason == "length"


def test_a_named_tool_is_forced_by_a_schema(client, hermes):
    chosen = {"type": "function", "function": {"name": "clock"}}
    answer = say(client, tools=[WEATHER, CLOCK], tool_choice=chosen)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "clock"
    assert json.loads(call.function.arguments) == {"zone": "text"}
    assert answer.choices[0].finish_reason == "tool_calls"
    request = hermes.requests[-1]
    assert request.json_schema["properties"]["name"] == {"enum": ["clock"]}
    assert request.tools == [CLOCK]
    assert request.template_values == {"enable_thinking": False}


def test_some_tool_is_forced_by_a_schema(client, hermes):
    answer = say(client, tools=[WEATHER], tool_choice="required")
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["weather"]
    assert hermes.requests[-1].json_schema["type"] == "array"
    content, calls, reason = joined(
        say(client, tools=[WEATHER], tool_choice="required", stream=True, parallel_tool_calls=False)
    )
    assert (content, reason) == ("", "tool_calls")
    assert json.loads(calls[0]["arguments"]) == {"city": "text"}
    assert hermes.requests[-1].json_schema["type"] == "object"
    say(client, tools=[WEATHER, CLOCK], tool_choice="required")
    assert len(hermes.requests[-1].json_schema["items"]["anyOf"]) == 2


def test_references_in_a_tools_schema_go_on_pointing_to_it(client, hermes):
    place = {"type": "string"}
    schema = {"type": "object", "properties": {"at": {"$ref": "#/$defs/place"}},
              "$defs": {"place": place}}  # fmt: skip
    travel = {"type": "function", "function": {"name": "travel", "parameters": schema}}
    say(client, tools=[travel], tool_choice="required", parallel_tool_calls=False)
    sent = hermes.requests[-1].json_schema
    assert sent["properties"]["arguments"] == {"$ref": "#/$defs/tool0"}
    inner = sent["$defs"]["tool0"]
    assert inner["properties"]["at"] == {"$ref": "#/$defs/tool0/$defs/place"}
    assert inner["$defs"]["place"] == place


def test_a_tools_answer_goes_back_to_the_model(client, hermes):
    hermes.answer = CALL
    message = say(client, tools=[WEATHER]).choices[0].message
    hermes.answer = "It rains."
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
    answer = say(client, tools=[WEATHER], messages=[*ASK, message, result])
    assert answer.choices[0].message.content == "It rains."
    sent = hermes.requests[-1].messages
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {
        "city": "Paris, France"
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tool_choice": "required"}, "tool_choice requires tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
         "not in tools"),
        ({"tools": [WEATHER, WEATHER]}, "the same name"),
        ({"tools": [tool("two words")]}, r"tools\[0\].function.name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "auto", "tools": [{"type": "function", "function": {"name": "x"}}]}}},
         "allows x, which is not in tools"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "tool_call_id"),
        ({"messages": [*ASK, {"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "x", "arguments": "[1"}}]}]},
         "JSON object"),
        ({"messages": [*ASK, {"role": "assistant", "content": None}, *ASK]}, "neither content"),
        ({"functions": []}, "use tools"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(client, fields, words):
    with pytest.raises(openai.BadRequestError, match=words):
        say(client, extra_body=fields)


def test_a_template_without_a_place_for_tools_refuses_them(client, running):
    with pytest.raises(openai.BadRequestError, match="does not support them"):
        say(client, tools=[WEATHER])
    assert running.engine.requests == []
