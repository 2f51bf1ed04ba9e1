"""/v1/messages as Anthropic's clients use it: raw HTTP, with the events in their recorded order."""

from __future__ import annotations

import json

import pytest
from tests.server.conftest import KEY
from tests.server.test_openai_tools import CALL, hermes

from tunery.errors import EngineError

__all__ = ["hermes"]

WEATHER = {
    "name": "weather",
    "description": "Tells it.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
HI = [{"role": "user", "content": "hello"}]
# As api.anthropic.com sends them for text.
TEXT_EVENTS = [
    "message_start", "content_block_start", "content_block_delta", "content_block_stop",
    "message_delta", "message_stop",
]  # fmt: skip


@pytest.fixture
def post(running):
    client = running.raw()
    client.headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}

    def send(path="", **fields):
        body = {"model": "stub", "max_tokens": 100, "messages": HI, "temperature": 0} | fields
        return client.post(f"/v1/messages{path}", json=body)

    return send


def events(answer):
    """Names and data of a stream; the name is also the data's type."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def kinds(found):
    names: list[str] = []
    for event in found:
        if not names or event["type"] != names[-1]:
            names.append(event["type"])
    return names


def test_a_conversation_is_answered(post, running):
    answer = post(system="Be kind.", top_k=5).json()
    assert answer["content"] == [{"type": "text", "text": "echo: hello 1 2 3 4 5 6 7 8"}]
    assert (answer["type"], answer["role"], answer["model"]) == ("message", "assistant", "stub")
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("end_turn", None)
    assert answer["usage"]["input_tokens"] == 5
    assert answer["usage"]["output_tokens"] > 5
    (asked,) = running.engine.requests
    assert [m["role"] for m in asked.messages] == ["system", "user"]
    assert (asked.max_tokens, asked.sampling.top_k) == (100, 5)
    assert asked.template_values == {"enable_thinking": False}


def test_events_of_a_stream_come_in_their_order(post):
    found = events(post(stream=True))
    assert kinds(found) == TEXT_EVENTS
    message = found[0]["message"]
    assert (message["content"], message["stop_reason"]) == ([], None)
    assert message["usage"]["input_tokens"] == 2
    deltas = [e["delta"] for e in found if e["type"] == "content_block_delta"]
    assert {delta["type"] for delta in deltas} == {"text_delta"}
    assert "".join(delta["text"] for delta in deltas) == "echo: hello 1 2 3 4 5 6 7 8"
    assert found[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert found[-2]["usage"]["output_tokens"] > 5


def test_the_reason_of_the_end_is_told(post):
    cut = post(max_tokens=3).json()
    assert cut["stop_reason"] == "max_tokens"
    stopped = post(stop_sequences=["9", " 3"]).json()
    assert stopped["content"][0]["text"] == "echo: hello 1 2"
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", " 3")


def test_a_bound_above_the_context_is_no_error(post, running):
    assert post(max_tokens=32_000).status_code == 200
    assert running.engine.requests[-1].max_tokens == running.engine.context_length


def test_the_assistant_s_last_words_are_continued(post, running):
    post(messages=[*HI, {"role": "assistant", "content": "Well,"}])
    assert running.engine.requests[-1].continue_last


def test_thinking_is_a_block(post, running):
    running.engine.answer = "<think>\nThey greet.\n</think>\n\nHello"
    wanted = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    thought, said = post(**wanted).json()["content"]
    assert thought == {"type": "thinking", "thinking": "They greet.", "signature": ""}
    assert said == {"type": "text", "text": "Hello"}
    assert running.engine.requests[-1].template_values == {"enable_thinking": True}
    found = events(post(stream=True, **wanted))
    deltas = [e["delta"]["type"] for e in found if e["type"] == "content_block_delta"]
    assert deltas[0] == "thinking_delta"
    post(messages=[*HI, {"role": "assistant", "content": [thought, said]}, *HI])
    assert running.engine.requests[-1].messages[1] == {
        "role": "assistant", "content": "Hello", "reasoning_content": "They greet.",
    }  # fmt: skip


def test_tools_are_used_and_their_results_go_back(post, hermes):
    hermes.answer = f"I look.\n{CALL}"
    answer = post(tools=[WEATHER]).json()
    text, use = answer["content"]
    assert answer["stop_reason"] == "tool_use"
    assert text == {"type": "text", "text": "I look."}
    assert (use["type"], use["name"], use["input"]) == (
        "tool_use", "weather", {"city": "Paris, France"},
    )  # fmt: skip
    assert hermes.requests[-1].tools[0]["function"]["description"] == "Tells it."
    found = events(post(tools=[WEATHER], stream=True))
    assert kinds(found) == [*TEXT_EVENTS[:4], *TEXT_EVENTS[1:]]
    begun = [e["content_block"] for e in found if e["type"] == "content_block_start"][1]
    assert (begun["name"], begun["input"]) == ("weather", {})
    parts = [e["delta"] for e in found if e.get("index") == 1 and "delta" in e]
    assert {part["type"] for part in parts} == {"input_json_delta"}
    assert json.loads("".join(part["partial_json"] for part in parts)) == use["input"]
    hermes.answer = "Sunny."
    result = {"type": "tool_result", "tool_use_id": use["id"],
              "content": [{"type": "text", "text": "sun"}]}  # fmt: skip
    messages = [
        *HI,
        {"role": "assistant", "content": [text, use]},
        {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
    ]
    assert post(messages=messages, tools=[WEATHER]).json()["content"][0]["text"] == "Sunny."
    _, said, told, user = hermes.requests[-1].messages
    assert said["tool_calls"][0]["function"]["name"] == "weather"
    assert told == {"role": "tool", "tool_call_id": use["id"], "content": "sun"}
    assert user == {"role": "user", "content": "So?"}


def test_a_tool_can_be_required(post, hermes):
    for choice in ({"type": "any", "disable_parallel_tool_use": True},
                   {"type": "tool", "name": "weather"}):  # fmt: skip
        answer = post(tools=[WEATHER], tool_choice=choice).json()
        assert [block["name"] for block in answer["content"]] == ["weather"]
    hermes.answer = "No."
    post(tools=[WEATHER], tool_choice={"type": "none"})
    assert not hermes.requests[-1].tools


def test_tokens_are_counted(post, running):
    fields = {"max_tokens": None, "temperature": None, "system": "Be kind."}
    assert post("/count_tokens", **fields).json() == {"input_tokens": 5}
    assert running.engine.requests == []


@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({"model": "none"}, 404, "not_found_error", "none"),
        ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens"),
        ({"temperature": 1.5}, 400, "invalid_request_error", "temperature"),
        ({"mcp_servers": []}, 400, "invalid_request_error", "mcp_servers: not supported"),
        ({"stop": ["x"]}, 400, "invalid_request_error", "stop: no such field"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 400,
         "invalid_request_error", "tools[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, 400,
         "invalid_request_error", "messages[0].content[0]: this model accepts only text"),
        ({"messages": [{"role": "user", "content": "a " * 10**5}]}, 400,
         "invalid_request_error", "characters"),
        ({"tools": [WEATHER]}, 400, "invalid_request_error", "does not support them"),
    ],
)  # fmt: skip
def test_refusals_have_anthropic_s_shape(post, fields, status, kind, words):
    answer = post(**fields)
    assert answer.status_code == status
    told = answer.json()
    assert (told["type"], told["error"]["type"]) == ("error", kind)
    assert words in told["error"]["message"]


def test_what_is_refused_before_the_route_has_the_same_shape(running):
    client = running.raw()
    for headers, kind in (({"x-api-key": "wrong"}, "authentication_error"),
                          ({"x-api-key": KEY, "Content-Type": "text/plain"},
                           "invalid_request_error")):  # fmt: skip
        client.headers = headers
        told = client.post("/v1/messages", content=b"{}").json()
        assert (told["type"], told["error"]["type"]) == ("error", kind)


def test_an_engine_that_ends_in_the_middle_ends_the_stream_with_an_error(post, running):
    async def broken(request):
        async for event in type(running.engine).generate(running.engine, request):
            yield event
            if getattr(event, "text", "") == " 2":
                raise EngineError("Socket /tmp/x/socket is gone", code="gone")

    running.engine.generate = broken
    last = events(post(stream=True))[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "overloaded_error")
