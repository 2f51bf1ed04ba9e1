"""The limits of a key: its models, its end, requests and tokens per minute, answers at once."""

from __future__ import annotations

import time
from dataclasses import replace

import openai
import pytest
from tests.waiting import until

from engines.stub import StubEngine
from tunery.errors import ConfigError
from tunery.server.security import key_limits, tokens
from tunery.server.security.key_limits import KeyLimits
from tunery.services.chat import Served, _serving
from tunery.state import database


def say(client, **more):
    messages = [{"role": "user", "content": "hello"}]
    return client.chat.completions.create(**{"model": "stub", "messages": messages} | more)


def limited(running, **limits):
    return running.client(tokens.create_key("k", ("chat",), KeyLimits(**limits))[1])


def test_a_key_uses_only_its_models(running, monkeypatch):
    running.pool.engines["other"] = StubEngine(tokens_per_second=0)
    names = (Served("stub", "stub", 1), Served("other", "other", 2))
    monkeypatch.setattr(_serving, "_fixed", names)
    client = limited(running, models=("other",))
    assert [each.id for each in client.models.list()] == ["other"]
    assert say(client, model="other").choices
    for ask in (say, lambda c: c.models.retrieve("stub"),
                lambda c: c.responses.create(model="stub", input="x")):  # fmt: skip
        with pytest.raises(openai.PermissionDeniedError, match="It may use: other") as told:
            ask(client)
        assert told.value.code == "model_not_allowed"
    secret = tokens.create_key("a", ("chat",), KeyLimits(models=("other",)))[1]
    answer = running.raw().post(
        "/v1/messages",
        json={"model": "stub", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]},
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")


@pytest.mark.parametrize(
    "limits", [{"models": ("stub",)}, {"requests_per_minute": 9}, {"parallel": 1}]
)
def test_a_limited_key_sees_no_figures_of_others(running, limits):
    secret = tokens.create_key("a", ("chat",), KeyLimits(**limits))[1]
    bare = {"Authorization": f"Bearer {secret}"}
    answer = running.raw().get("/metrics", headers=bare)
    assert answer.status_code == 403
    assert "A key with limits cannot read the metrics" in answer.json()["detail"]
    secret = tokens.create_key("b", ("chat",), KeyLimits(expires=time.time() + 60))[1]
    assert running.raw().get(
        "/metrics", headers={"Authorization": f"Bearer {secret}"}
    ).is_success  # fmt: skip


def test_a_key_expires(running):
    client = limited(running, expires=time.time() + 3600)
    assert say(client).choices
    with database().write() as db:
        db.execute("UPDATE keys SET limits = ?", (KeyLimits(expires=time.time() - 1).as_json(),))
    with pytest.raises(openai.AuthenticationError, match="has expired") as told:
        say(client)
    assert told.value.code == "expired_key"


def test_requests_of_a_minute_are_counted(running, monkeypatch):
    client, other = limited(running, requests_per_minute=2), limited(running, requests_per_minute=2)
    for _ in range(2):
        say(client)
    with pytest.raises(openai.RateLimitError, match="2 requests per minute") as told:
        say(client)
    assert 55 < int(told.value.response.headers["retry-after"]) <= 61
    assert say(other).choices
    assert say(running.client()).choices
    later = time.monotonic() + 61
    monkeypatch.setattr(key_limits, "clock", lambda: later)
    assert say(client).choices


def test_tokens_of_a_minute_are_counted(running, monkeypatch):
    client = limited(running, tokens_per_minute=30)
    used = 0
    while used < 30:
        used += say(client, temperature=0).usage.total_tokens
    with pytest.raises(openai.RateLimitError, match="30 tokens per minute"):
        say(client)
    later = time.monotonic() + 62
    monkeypatch.setattr(key_limits, "clock", lambda: later)
    assert say(client).choices


def test_tokens_of_a_stream_that_was_left_count_too(running):
    running.pool.engines["stub"] = StubEngine(tokens_per_second=100, words=1000)
    client = limited(running, tokens_per_minute=10)
    with say(client, stream=True) as stream:
        for number, _ in enumerate(stream):
            if number > 15:
                break
    until(lambda: running.app.state.openai.num_open == 0)
    with pytest.raises(openai.RateLimitError, match="10 tokens per minute"):
        say(client)


def test_answers_at_once_are_counted(running):
    running.pool.engines["stub"] = StubEngine(tokens_per_second=50, words=1000)
    client = limited(running, parallel=1)
    with say(client, stream=True) as stream:
        next(iter(stream))
        with pytest.raises(openai.RateLimitError, match="allows at most 1 at once"):
            say(client)
    until(lambda: running.app.state.openai.num_open == 0)
    assert say(client, max_tokens=2).choices


@pytest.mark.parametrize(
    ("scopes", "limits"),
    [(("chat", "jobs"), {"parallel": 1}), (("admin",), {"models": ("x",)}),
     (("chat",), {"parallel": -1}), (("chat",), {"expires": 1.0}), (("chat",), {"models": ("",)})],
)  # fmt: skip
def test_limits_that_cannot_hold_are_refused(home, scopes, limits):
    with pytest.raises(ConfigError) as told:
        tokens.create_key("k", scopes, KeyLimits(**limits))
    assert told.value.code == "bad_limit"


def test_limits_are_kept_and_an_old_key_has_none(home):
    limits = KeyLimits(("a", "b"), time.time() + 60, 1, 2, 3)
    tokens.create_key("k", ("chat",), limits)
    assert [key.limits for key in tokens.list_keys()] == [limits]
    assert key_limits.from_json("{}") == KeyLimits() == replace(KeyLimits())
