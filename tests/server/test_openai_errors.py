"""What is refused, in OpenAI's shape; and that nothing of this machine stands in it."""

from __future__ import annotations

import copy
import json
import random
import re
from pathlib import Path

import openai
import pytest

from tunery.errors import EngineError, ModelError
from tunery.server.openai.errors import of_tunery, public
from tunery.server.security import tokens

HI = [{"role": "user", "content": "hello"}]
PRIVATE = re.compile(r"0x[0-9a-f]{8,}|Traceback|/(home|root|tmp|usr|work|var)\b|File \"")


def say(client, **more):
    return client.chat.completions.create(**{"model": "stub", "messages": HI} | more)


def test_an_unknown_model_is_named_with_the_nearest(client):
    with pytest.raises(openai.NotFoundError, match="Did you mean stub") as told:
        say(client, model="stubb")
    assert told.value.code == "model_not_found"
    assert told.value.param == "model"


def test_a_wrong_key_is_no_key(running):
    for key in ("wrong", "tunery-0-0"):
        with pytest.raises(openai.AuthenticationError) as told:
            say(running.client(key))
        assert told.value.body["type"] == "authentication_error"
    answer = running.raw(follow_redirects=False).get("/v1/models", headers={"Authorization": ""})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "message" in answer.json()["error"]


def test_a_key_for_other_things_is_refused(running):
    _, jobs = tokens.create_key("jobs", ("jobs",))
    with pytest.raises(openai.PermissionDeniedError, match="chat") as told:
        say(running.client(jobs))
    assert told.value.body["type"] == "permission_error"
    _, chat = tokens.create_key("chat", ("chat",))
    assert say(running.client(chat)).choices
    assert running.raw().get("/api/v1/version").status_code in (403, 404)


def test_a_full_engine_says_when_to_come_back(client, running):
    running.engine.max_waiting = 0
    with pytest.raises(openai.RateLimitError) as told:
        say(client)
    assert told.value.response.headers["retry-after"] == "1"
    assert told.value.body["type"] == "rate_limit_error"
    with pytest.raises(openai.RateLimitError):
        say(client, stream=True)


def test_a_prompt_that_is_too_long_is_told_by_how_much(client, running):
    running.engine.context_length = 20
    with pytest.raises(openai.BadRequestError, match="too long") as told:
        say(client, messages=[{"role": "user", "content": "a " * 30}])
    assert told.value.code == "context_length_exceeded"
    with pytest.raises(
        openai.BadRequestError, match=r"10\d\d characters; more than 480 .* of 20 tok"
    ):
        say(client, messages=[{"role": "user", "content": "a" * 1000}])
    with pytest.raises(openai.BadRequestError, match=r"max_tokens: 21 is more .* of 20 tokens"):
        say(client, max_tokens=21)
    error = EngineError("x", code="too_long", num_prompt_tokens=31, context_length=20)
    assert "has 31 tokens; this model's context holds 20" in of_tunery(error).message


def test_an_engine_that_ends_in_the_middle_ends_the_stream_with_an_error(client, running):
    async def broken(request):
        async for event in type(running.engine).generate(running.engine, request):
            yield event
            if getattr(event, "text", "") == " 2":
                raise EngineError("Socket /tmp/x/socket is gone", code="gone")

    running.engine.generate = broken
    said = ""
    with pytest.raises(openai.APIError, match="process has ended"):
        for chunk in say(client, stream=True, temperature=0):
            said += chunk.choices[0].delta.content or ""
    assert said == "echo: hello 1 2"
    with pytest.raises(openai.InternalServerError) as told:
        say(client)
    assert told.value.code == "engine_gone"
    assert "/tmp" not in str(told.value.body)


def test_a_request_after_the_death_of_an_engine_loads_the_model_again(client, running):
    assert say(client).choices
    dead = running.engine
    dead.closed = True
    assert say(client).choices
    assert running.engine is not dead


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"), ({"n": 17}, "n"), ({"n": 10**6}, "n"), ({"n": 1.5}, "n"),
        ({"n": "2"}, "n"), ({"n": True}, "n"),
        ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": 10**9}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, None),
        ({"temperature": -0.1}, "temperature"), ({"temperature": 2.1}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"top_p": 0}, "top_p"), ({"top_p": 1.1}, "top_p"), ({"top_k": -2}, "top_k"),
        ({"frequency_penalty": 2.1}, "frequency_penalty"),
        ({"presence_penalty": -2.1}, "presence_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"seed": 2**63}, "seed"), ({"seed": 1.5}, "seed"),
        ({"stop": [""]}, "stop[0]"), ({"stop": ["x"] * 17}, "stop"), ({"stop": 5}, "stop"),
        ({"stop": "x" * 257}, "stop[0]"),
        ({"logit_bias": {"x": 1}}, "logit_bias"), ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"top_logprobs": 3}, None), ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 5}, "logprobs"),
        ({"stream_options": {"include_usage": True}}, None),
        ({"messages": []}, "messages"), ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": HI * 2049}, "messages"), ({"messages": HI * 10**5}, "messages"),
        ({"model": ""}, "model"), ({"model": 5}, "model"), ({"model": "x" * 513}, "model"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {
            "$ref": "http://127.0.0.1/x"}}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {
            "enum": ["x" * 70_000]}}}}, "response_format"),
        ({"modalities": ["audio"]}, None),
        ({"chat_template": "{{ 1 }}"}, "chat_template"), ({"min_p": 1.1}, "min_p"),
        ({"min_p": -0.1}, "min_p"), ({"add_generation_prompt": False}, "add_generation_prompt"),

        ({"temprature": 1}, "temprature"), ({"reasoning_effort": "huge"}, "reasoning_effort"),
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_refused_by_name(running, fields, param):
    with running.raw() as raw:
        body = {"model": "stub", "messages": HI} | fields
        answer = raw.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) < 400
    assert running.engine.requests == []


def test_a_misspelt_field_is_told_the_right_one(client):
    with pytest.raises(openai.BadRequestError, match="Did you mean temperature"):
        say(client, extra_body={"temprature": 1})


def test_fields_that_change_no_answer_are_ignored(client):
    more = {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto",
            "safety_identifier": "x", "prompt_cache_key": "y", "logit_bias": None,
            "stop": None}  # fmt: skip
    assert say(client, extra_body=more).choices


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'"x"', 400), (b"\xff\xfe", 400),
        (b'{"model": NaN}', 400), (b'{"temperature": 1e400}', 400), (b"9" * 5000, 400),
        (b"[" * 200_000, 400), (b'{"a":' * 100 + b"1" + b"}" * 100, 400),
        (b'{"model": "stub", "messages": [{"role": "user", "content": "\\ud83d"}]}', 400),
        (b'{"x": "' + b"a" * (9 * 2**20) + b'"}', 413),
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(running, content, status):
    with running.raw() as raw:
        answer = raw.post(
            "/v1/chat/completions", content=content, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_other_addresses_and_methods_answer_in_the_same_shape(running):
    with running.raw() as raw:
        answers = [
            (404, raw.get("/v1/nothing")),
            (405, raw.get("/v1/chat/completions")),
            (415, raw.post("/v1/completions", content="x", headers={"Content-Type": "text/plain"})),
            (421, raw.get("/v1/models", headers={"Host": "evil.example"})),
        ]
    for status, answer in answers:
        assert answer.status_code == status
        assert answer.json()["error"]["message"]


def test_errors_of_this_machine_are_not_told():
    assert "/home" not in of_tunery(ModelError("/home/me/models/x: no config.json")).message
    assert public("Run it: see /v1/models.") == "Run it: see /v1/models."
    assert public("Use Qwen/Qwen3-4B/x") == "Use Qwen/Qwen3-4B/x"
    for text in ("at 0x7f1234567890", "~/models/x", "'/root/x/y'", "C:\\x", "Traceback (most"):
        assert public(text) == "The request cannot be answered."


def test_two_thousand_malformed_requests_give_no_500_and_nothing_private(running):
    chance = random.Random(20261123)
    with running.raw() as raw:
        for _ in range(2000):
            path, body = malformed(chance)
            answer = raw.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code < 500, (answer.status_code, body[:500])
            text = answer.text
            if answer.status_code != 200:
                error = json.loads(text)["error"]
                assert error["message"], body[:500]
                assert not PRIVATE.search(text), (text, body[:500])
                assert str(Path.home()) not in text
    assert running.engine.open_requests == 0


STRANGE = [
    None, True, 0, -1, 1, 2**31, 2**70, 1e308, -0.0, "", "x", "\u202e", "\x00", "🐟" * 50,
    "{{ 7*7 }}",
    "../../etc/passwd", "<|im_start|>", [], [[]], [None], {}, {"": {}}, {"type": "function"},
    {"$ref": "#"}, "a" * 5000,
]  # fmt: skip


def malformed(chance: random.Random) -> tuple[str, bytes]:
    """A request that was right once, with one to four things wrong."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    chat = {
        "model": "stub", "messages": [{"role": "user", "content": "hi"}], "n": 1, "max_tokens": 2,
        "temperature": 1, "stop": ["x"], "stream": False, "tools": [tool], "tool_choice": "auto",
        "response_format": {"type": "text"}, "logit_bias": {"1": 1}, "seed": 1, "logprobs": True,
        "stream_options": None, "chat_template_kwargs": {}, "parallel_tool_calls": True,
    }  # fmt: skip
    text = {"model": "stub", "prompt": "hi", "max_tokens": 2, "echo": False, "logprobs": 1}
    path, body = chance.choice(
        [("/v1/chat/completions", chat), ("/v1/completions", text), ("/v1/chat/completions", chat)]
    )
    body = json.loads(json.dumps(body))
    for _ in range(chance.randint(1, 4)):
        spoil(chance, body)
    data = json.dumps(body).encode()
    if chance.random() < 0.3:
        data = bytearray(data)
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data = bytes(data[: chance.randint(1, len(data))] if chance.random() < 0.3 else data)
    return path, data


def spoil(chance: random.Random, value):
    """Change one place, anywhere inside."""
    while True:
        if isinstance(value, dict):
            key = chance.choice([*value, "x", "content", "name"])
        elif value:
            key = chance.randrange(len(value))
        else:
            return
        inner = value.get(key) if isinstance(value, dict) else value[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.6:
            value = inner
            continue
        if isinstance(value, dict) and chance.random() < 0.2:
            value.pop(key, None)
        else:
            value[key] = copy.deepcopy(chance.choice(STRANGE))
        return
