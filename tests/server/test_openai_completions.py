"""Completions of the older kind, and the list of models, through the real client."""

from __future__ import annotations

import openai
import pytest

from tunery.errors import EngineError
from tunery.services.chat import Served, _serving

ECHO = "echo: Once 1 2 3 4 5 6 7 8"


def go_on(client, **more):
    return client.completions.create(
        **{"model": "stub", "prompt": "Once", "temperature": 0, "max_tokens": 50} | more
    )


def test_text_is_continued(client):
    answer = go_on(client)
    assert answer.id.startswith("cmpl-")
    assert answer.object == "text_completion"
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (ECHO, "stop")
    assert answer.usage.prompt_tokens == 1


def test_the_length_is_sixteen_unless_said(client, running):
    client.completions.create(model="stub", prompt="Once")
    assert running.engine.requests[-1].max_tokens == 16


@pytest.mark.parametrize("prompt", [[], [[]], [1.5], [-1], ["a", []], [True], {"a": 1}])
def test_what_is_no_prompt_is_refused_with_what_is_one(client, prompt):
    with pytest.raises(openai.BadRequestError, match=r"token ids .whole numbers from 0") as told:
        go_on(client, prompt=prompt)
    assert told.value.param == "prompt"


@pytest.mark.parametrize("prompt", ["", [""], ["a", ""]])
def test_an_empty_prompt_is_refused_by_its_own_name(client, running, prompt):
    real = running.engine.generate

    async def empty(request):
        if request.prompt == "":  # as an engine says whose model has no token to begin with
            raise EngineError("The prompt is empty.", code="bad_template")
        async for event in real(request):
            yield event

    running.engine.generate = empty
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="prompt is empty") as told:
            go_on(client, prompt=prompt, stream=stream)
        assert told.value.param == "prompt"


def test_a_prompt_that_is_too_long_is_the_field_prompt(client, running):
    running.engine.context_length = 3
    with pytest.raises(openai.BadRequestError) as told:
        go_on(client, prompt="a b c d", max_tokens=1)
    assert (told.value.param, told.value.code) == ("prompt", "context_length_exceeded")


def test_a_stream_says_the_same(client):
    chunks = list(go_on(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == ECHO
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens > 0


def test_several_prompts_and_answers_keep_their_places(client):
    answer = go_on(client, prompt=["A", "B"], n=2, seed=1, temperature=1)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    heads = [c.text[:14] for c in answer.choices]
    assert heads == ["seed 1: echo: A"[:14], "seed 2: echo: ", "seed 1: echo: ", "seed 2: echo: "]
    assert [c.text.split("echo: ")[1][0] for c in answer.choices] == ["A", "A", "B", "B"]
    texts = dict.fromkeys(range(4), "")
    for chunk in go_on(client, prompt=["A", "B"], n=2, seed=1, temperature=1, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert [*texts.values()] == [c.text for c in answer.choices]


def test_the_prompt_can_be_echoed(client):
    assert go_on(client, echo=True).choices[0].text == f"Once{ECHO}"
    streamed = "".join(c.choices[0].text for c in go_on(client, echo=True, stream=True))
    assert streamed == f"Once{ECHO}"


def test_logprobs_have_the_older_shape(client):
    told = go_on(client, logprobs=2, max_tokens=3).choices[0].logprobs
    assert "".join(told.tokens) == "echo: Once 1"
    assert told.text_offset == [0, 5, 10]
    assert len(told.top_logprobs[0]) == 2
    assert len(told.token_logprobs) == 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"suffix": "end"}, "suffix: not supported"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True, "logprobs": 1}, "echo and logprobs"),
        ({"prompt": [1, -2, 3]}, "token ids"),
        ({"prompt": [[1, True]]}, "token ids"),
        ({"prompt": [[]]}, "token ids"),
        ({"prompt": [1, "x"]}, "token ids"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["x"] * 17}, "at most 16"),
    ],
)
def test_what_is_not_supported_is_refused(client, fields, words):
    with pytest.raises(openai.BadRequestError, match=words):
        go_on(client, extra_body=fields)


def test_a_prompt_may_be_token_ids(client, running):
    answer = go_on(client, prompt=[5, 9, 30], temperature=0)
    assert answer.choices[0].text == "echo:  1 2 3 4 5 6 7 8"
    assert answer.usage.prompt_tokens == 3
    (asked,) = running.engine.requests
    assert (asked.prompt_ids, asked.prompt) == ([5, 9, 30], None)


def test_lists_of_token_ids_are_several_prompts(client, running):
    answer = go_on(client, prompt=[[5, 9], [7]], temperature=0, echo=True)
    assert [choice.text[:9] for choice in answer.choices] == ["5 9echo: ", "7echo:  1"]
    assert [asked.prompt_ids for asked in running.engine.requests] == [[5, 9], [7]]


def test_models_are_listed_by_their_names(client, running, monkeypatch):
    names = (Served("stub", "stub", 1), Served("Qwen/Qwen3-4B", "x", 2))
    monkeypatch.setattr(_serving, "_fixed", names)
    listed = client.models.list()
    assert listed.object == "list"
    assert [each.id for each in listed] == ["stub", "Qwen/Qwen3-4B"]
    one = client.models.retrieve("Qwen/Qwen3-4B")
    assert (one.id, one.object, one.owned_by, one.created) == (
        "Qwen/Qwen3-4B", "model", "tunery", 2,
    )  # fmt: skip
    told = running.raw().get("/v1/models").json()["data"][0]
    assert set(told) == {"id", "object", "created", "owned_by"}
    with pytest.raises(openai.NotFoundError, match="Did you mean stub"):
        client.models.retrieve("stup")
