"""Chat completions through the real client: every field, whole and streamed."""

from __future__ import annotations

import json

import openai
import pytest

HI = [{"role": "user", "content": "hello"}]
ECHO = "echo: hello 1 2 3 4 5 6 7 8"


def say(client, **more):
    return client.chat.completions.create(
        **{"model": "stub", "messages": HI, "temperature": 0} | more
    )


def test_an_answer_has_every_field(client):
    answer = say(client)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", "stub")
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason) == (0, "stop")
    assert (choice.message.role, choice.message.content) == ("assistant", ECHO)
    assert choice.logprobs is None
    assert answer.usage.prompt_tokens == 2
    assert answer.usage.completion_tokens == 11
    assert answer.usage.total_tokens == 13


def test_a_stream_says_the_same_in_pieces(client):
    chunks = list(say(client, stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ECHO
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 13
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert all(chunk.usage is None for chunk in say(client, stream=True))


def test_the_framing_of_a_stream_is_exact(running):
    body = {"model": "stub", "messages": HI, "stream": True}
    with running.raw() as raw, raw.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-length" not in answer.headers
        text = answer.read().decode()
    *events, end = text.split("\n\n")
    assert end == ""
    assert events[-1] == "data: [DONE]"
    assert all(event.startswith("data: {") for event in events[:-1])
    assert all("\n" not in event for event in events)
    assert [json.loads(event[6:])["object"] for event in events[:-1]]


def test_ids_are_unique(client):
    assert len({say(client, max_tokens=1).id for _ in range(50)}) == 50


def test_lengths_end_an_answer(client):
    for field in ("max_tokens", "max_completion_tokens"):
        answer = say(client, **{field: 2})
        assert answer.choices[0].message.content == "echo: hello"
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 2


@pytest.mark.parametrize("stop", [" 3", [" 3", "7"]])
def test_a_stop_text_is_never_shown(client, stop):
    answer = say(client, stop=stop)
    assert answer.choices[0].message.content == "echo: hello 1 2"
    assert answer.choices[0].finish_reason == "stop"
    chunks = say(client, stop=stop, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "echo: hello 1 2"


def test_a_seed_gives_the_same_answer_again(client):
    first = say(client, temperature=1, seed=7).choices[0].message.content
    assert first == say(client, temperature=1, seed=7).choices[0].message.content
    assert first != say(client, temperature=1, seed=8).choices[0].message.content
    assert say(client, temperature=1, seed=-1).choices[0].message.content


def test_several_answers_keep_their_places(client):
    answer = say(client, n=3, seed=5, temperature=1)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert [c.message.content[:7] for c in answer.choices] == ["seed 5:", "seed 6:", "seed 7:"]
    assert answer.usage.completion_tokens == 39
    texts = ["", "", ""]
    for chunk in say(client, n=3, seed=5, temperature=1, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [c.message.content for c in answer.choices]


def test_every_sampling_field_reaches_the_engine(client, running):
    say(
        client, temperature=0.5, top_p=0.9, frequency_penalty=0.1, presence_penalty=-0.2,
        logit_bias={"5": -100}, seed=3,
        extra_body={"top_k": 40, "repetition_penalty": 1.1},
    )  # fmt: skip
    sampling = running.engine.requests[-1].sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 40)
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (0.1, -0.2)
    assert sampling.repetition_penalty == 1.1
    assert dict(sampling.logit_bias) == {5: -100}
    assert sampling.seed == 3
    client.chat.completions.create(model="stub", messages=HI)
    sampling = running.engine.requests[-1].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (1.0, 1.0, None)


def test_logprobs_stand_beside_their_tokens(client):
    answer = say(client, logprobs=True, top_logprobs=2, max_tokens=3)
    told = answer.choices[0].logprobs.content
    assert "".join(each.token for each in told) == answer.choices[0].message.content
    assert all(len(each.top_logprobs) == 2 for each in told)
    assert bytes(told[0].bytes).decode() == told[0].token
    streamed = [
        each
        for chunk in say(client, logprobs=True, stream=True, max_tokens=3)
        for each in (chunk.choices[0].logprobs.content or [])
    ]
    assert [each.token for each in streamed] == [each.token for each in told]
    assert streamed[0].top_logprobs == []


def test_json_is_asked_for_by_schema(client, running):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    answer = say(client, response_format=wanted)
    assert json.loads(answer.choices[0].message.content) is not None
    assert running.engine.requests[-1].json_schema == schema
    assert running.engine.requests[-1].template_values == {"enable_thinking": False}
    say(client, response_format={"type": "json_object"})
    assert running.engine.requests[-1].json_schema == {"type": "object"}
    say(client, response_format={"type": "text"})
    assert running.engine.requests[-1].json_schema is None


def test_thinking_stands_apart(client, running):
    running.engine.answer = "<think>\nTwo and two.\n</think>\n\nIt is 4."
    message = say(client).choices[0].message
    assert message.content == "It is 4."
    assert message.reasoning_content == "Two and two."
    assert say(client).usage.completion_tokens_details.reasoning_tokens > 0
    deltas = [c.choices[0].delta for c in say(client, stream=True)]
    thought = "".join(getattr(d, "reasoning_content", None) or "" for d in deltas)
    assert thought == "Two and two."
    assert "".join(d.content or "" for d in deltas) == "It is 4."


def test_thinking_can_be_switched(client, running):
    say(client, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    assert running.engine.requests[-1].template_values == {"enable_thinking": False}
    say(client, extra_body={"enable_thinking": True})
    assert running.engine.requests[-1].template_values == {"enable_thinking": True}
    say(client, reasoning_effort="low")
    values = running.engine.requests[-1].template_values
    assert values == {"enable_thinking": True, "reasoning_effort": "low"}
    with pytest.raises(openai.BadRequestError, match="this value is set by the server"):
        say(client, extra_body={"chat_template_kwargs": {"messages": "x"}})


def test_roles_and_parts_become_messages_of_text(client, running):
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "developer", "content": [{"type": "text", "text": "Be short."}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
         "name": "Ann"},
        {"role": "assistant", "content": "yes", "reasoning_content": "hm", "refusal": None},
        {"role": "user", "content": ""},
    ]  # fmt: skip
    say(client, messages=messages)
    assert running.engine.requests[-1].messages == [
        {"role": "system", "content": "Be kind.\n\nBe short."},
        {"role": "user", "content": "a\nb", "name": "Ann"},
        {"role": "assistant", "content": "yes", "reasoning_content": "hm"},
        {"role": "user", "content": ""},
    ]


def test_an_answer_can_be_continued(client, running):
    messages = [*HI, {"role": "assistant", "content": "Once"}]
    say(client, messages=messages, extra_body={"continue_final_message": True})
    assert running.engine.requests[-1].continue_last


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ({"type": "image_url", "image_url": {"url": "http://169.254.169.254/x.png"}}, "images"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "images"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "images"),
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "sound"),
        ({"type": "file", "file": {"file_id": "x"}}, "files"),
    ],
)
def test_what_is_no_text_is_refused_and_nothing_is_fetched(client, running, part, word):
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]
    with pytest.raises(openai.BadRequestError, match=f"accepts only text, not {word}") as told:
        say(client, messages=messages)
    assert told.value.code == "unsupported_content"
    assert told.value.param == "messages[0].content[1]"
    assert running.engine.requests == []


def test_a_conversation_may_end_with_the_assistant(client, running):
    messages = [*HI, {"role": "assistant", "content": "Well"}]
    assert say(client, messages=messages).choices[0].finish_reason == "stop"
    asked = running.engine.requests[-1]
    assert [message["role"] for message in asked.messages] == ["user", "assistant"]
    assert not asked.continue_last
    say(client, messages=messages, extra_body={
        "continue_final_message": True, "add_generation_prompt": False})  # fmt: skip
    assert running.engine.requests[-1].continue_last
    with pytest.raises(openai.BadRequestError, match="add_generation_prompt"):
        say(client, messages=messages, extra_body={
            "continue_final_message": True, "add_generation_prompt": True})  # fmt: skip


def test_a_conversation_may_be_the_system_s_alone(client, running):
    system = {"role": "system", "content": "Say hello."}
    answer = say(client, messages=[system, system | {"role": "developer"}], temperature=0)
    assert answer.choices[0].message.content.startswith("echo: Say hello.")
    assert running.engine.requests[-1].messages == [
        {"role": "system", "content": "Say hello.\n\nSay hello."}
    ]


def test_min_p_reaches_the_engine(client, running):
    say(client, extra_body={"min_p": 0.25})
    assert running.engine.requests[-1].sampling.min_p == 0.25


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "UTF8", '"utf-8"'])
def test_the_charset_may_be_spelled_in_every_usual_way(running, charset):
    body = b'{"model": "stub", "messages": [{"role": "user", "content": "hello"}]}'
    headers = {"Content-Type": f"application/json; charset={charset}"}
    answer = running.raw().post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 200
