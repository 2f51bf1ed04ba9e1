"""/v1/responses through the real client: text, items, streams, tools, and what is refused."""

from __future__ import annotations

import json

import openai
import pytest
from tests.server.test_openai_tools import CALL, hermes

from tunery.errors import EngineError

__all__ = ["hermes"]

WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
THOUGHT = "<think>\nThey greet.\n</think>\n\nHello there"
TEXT_EVENTS = [
    "response.created", "response.in_progress", "response.output_item.added",
    "response.content_part.added", "response.output_text.delta", "response.output_text.done",
    "response.content_part.done", "response.output_item.done", "response.completed",
]  # fmt: skip


def ask(client, **more):
    return client.responses.create(**{"model": "stub", "input": "hello", "temperature": 0} | more)


def kinds(events):
    """The events' types in order, several deltas in a row as one."""
    found: list[str] = []
    for event in events:
        if not found or event.type != found[-1]:
            found.append(event.type)
    return found


def test_text_is_answered(client, running):
    answer = ask(client, instructions="Be kind.", max_output_tokens=50)
    assert answer.output_text == "echo: hello 1 2 3 4 5 6 7 8"
    assert (answer.status, answer.object, answer.model) == ("completed", "response", "stub")
    (item,) = answer.output
    assert (item.type, item.role, item.status) == ("message", "assistant", "completed")
    assert answer.usage.input_tokens == 5
    assert answer.usage.total_tokens == 5 + answer.usage.output_tokens
    assert answer.to_dict()["store"] is False
    (asked,) = running.engine.requests
    assert [m["role"] for m in asked.messages] == ["system", "user"]
    assert asked.max_tokens == 50


def test_events_of_a_stream_come_in_their_order(client):
    events = list(ask(client, stream=True))
    assert kinds(events) == TEXT_EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 5
    last = events[-1].response
    assert last.output_text == "".join(deltas) == ask(client).output_text
    assert last.usage.output_tokens > 0
    assert events[2].item.content == []
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {last.output[0].id}


def test_the_client_s_own_stream_helper_puts_it_together(client, hermes):
    hermes.answer = f"I look.\n{CALL}"
    with client.responses.stream(model="stub", input="Weather?", tools=[WEATHER]) as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    message, call = final.output
    assert message.content[0].text == "I look."
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Paris, France"})


def test_an_answer_that_was_cut_is_incomplete(client):
    answer = ask(client, max_output_tokens=3)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output[0].status == "incomplete"
    assert kinds(ask(client, max_output_tokens=3, stream=True))[-1] == "response.incomplete"


def test_thinking_is_an_item_of_its_own(client, running):
    running.engine.answer = THOUGHT
    answer = ask(client)
    thought, message = answer.output
    assert (thought.type, thought.content[0].text) == ("reasoning", "They greet.")
    assert message.content[0].text == "Hello there"
    assert answer.usage.output_tokens_details.reasoning_tokens > 0
    assert kinds(ask(client, stream=True)) == [
        *TEXT_EVENTS[:4], "response.reasoning_text.delta", "response.reasoning_text.done",
        "response.content_part.done", "response.output_item.done", *TEXT_EVENTS[2:],
    ]  # fmt: skip


def test_calls_are_items_and_their_results_go_back(client, hermes):
    hermes.answer = CALL
    answer = ask(client, tools=[WEATHER])
    (call,) = answer.output
    assert (call.type, call.name, call.status) == ("function_call", "weather", "completed")
    assert kinds(ask(client, tools=[WEATHER], stream=True))[2:-1] == [
        "response.output_item.added", "response.function_call_arguments.delta",
        "response.function_call_arguments.done", "response.output_item.done",
    ]  # fmt: skip
    hermes.answer = "Sunny."
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [],
         "content": [{"type": "reasoning_text", "text": "I must look."}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        call.to_dict(),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sun"},
    ]  # fmt: skip
    assert ask(client, input=items, tools=[WEATHER]).output_text == "Sunny."
    user, said, result = hermes.requests[-1].messages
    assert user == {"role": "user", "content": "Weather?"}
    assert (said["content"], said["reasoning_content"]) == ("I look.", "I must look.")
    assert said["tool_calls"][0]["function"]["name"] == "weather"
    assert result == {"role": "tool", "tool_call_id": call.call_id, "content": "sun"}


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "name": "weather"},
     {"type": "allowed_tools", "mode": "required",
      "tools": [{"type": "function", "name": "weather"}]}],
)  # fmt: skip
def test_a_call_can_be_required(client, hermes, choice):
    (call,) = ask(client, tools=[WEATHER], tool_choice=choice).output
    assert call.name == "weather"


def test_an_answer_follows_its_schema(client, running):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    wanted = {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}
    assert json.loads(ask(client, text=wanted).output_text) == {"city": "text"}
    assert running.engine.requests[-1].json_schema == schema


def test_logprobs_are_told_where_they_are_asked_for(client):
    answer = ask(client, include=["message.output_text.logprobs"], top_logprobs=2)
    told = answer.output[0].content[0].logprobs
    assert "".join(each.token for each in told).startswith("echo: hello 1")
    assert len(told[0].top_logprobs) == 2


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "nothing is stored here"),
        ({"conversation": "c"}, "conversation", "nothing is stored here"),
        ({"prompt": {"id": "x"}}, "prompt", "not stored here"),
        ({"background": True}, None, "background is not supported"),
        ({"truncation": "auto"}, None, "never truncated"),
        ({"temperatur": 1}, "temperatur", "Did you mean temperature"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "function"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]", "item_reference"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type", "computer_call"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "expected system"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
         "input[0].content[0]", "accepts only text"),
        ({"input": []}, None, "input is empty"),
        ({"max_output_tokens": 10**6}, "max_output_tokens", "more than this model's context"),
        ({"input": "a " * 10**5}, "input", "characters"),
        ({"tools": [WEATHER]}, "tools", "does not support them"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_name(client, fields, param, words):
    with pytest.raises(openai.BadRequestError, match=words) as told:
        ask(client, extra_body=fields)
    assert told.value.param == param


def test_there_is_no_stored_response(client):
    with pytest.raises(openai.NotFoundError, match="not stored here"):
        client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError, match="not stored here"):
        client.responses.delete("resp_1")


def test_an_engine_that_ends_in_the_middle_fails_the_response(client, running):
    async def broken(request):
        async for event in type(running.engine).generate(running.engine, request):
            yield event
            if getattr(event, "text", "") == " 2":
                raise EngineError("Socket /tmp/x/socket is gone", code="gone")

    running.engine.generate = broken
    last = list(ask(client, stream=True))[-1]
    assert last.type == "response.failed"
    assert "process has ended" in last.response.error.message
