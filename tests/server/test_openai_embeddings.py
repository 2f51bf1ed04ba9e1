"""/v1/embeddings through the real client: numbers, batches, encodings, and what is refused."""

from __future__ import annotations

import base64
import struct

import openai
import pytest
import torch
from tests.chat_model import make_chat_model
from tests.server.test_key_limits import limited
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunery.decode.local import LocalEngine


def embed(client, given, **more):
    return client.embeddings.create(**{"model": "stub", "input": given} | more)


def test_a_text_becomes_a_vector(client):
    answer = embed(client, "aaae", encoding_format="float")
    (told,) = answer.data
    assert (answer.model, answer.object, told.index, told.object) == (
        "stub", "list", 0, "embedding",
    )  # fmt: skip
    assert told.embedding == pytest.approx([0.9487, 0.3162, 0, 0, 0], abs=1e-4)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 1


def test_a_list_keeps_its_order_and_usage_is_the_sum(client):
    answer = embed(client, ["a b", "e", "i o u"], encoding_format="float")
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert [each.embedding[0] for each in answer.data] == [1.0, 0.0, 0.0]
    assert answer.usage.prompt_tokens == 6
    ids = embed(client, [[1, 2], [3]], encoding_format="float")
    assert len(ids.data) == 2
    assert len(embed(client, [1, 2, 3]).data) == 1
    assert len(embed(client, list(range(1, 3000))).data) == 1


def test_the_client_asks_for_base64_by_itself_and_gets_the_same(client, running):
    plain = embed(client, "aaae", encoding_format="float").data[0].embedding
    assert embed(client, "aaae").data[0].embedding == pytest.approx(plain, abs=1e-7)
    said = running.raw().post(
        "/v1/embeddings", json={"model": "stub", "input": "aaae", "encoding_format": "base64"}
    )
    data = base64.b64decode(said.json()["data"][0]["embedding"])
    assert struct.unpack("<5f", data) == pytest.approx(plain, abs=1e-7)


@pytest.mark.parametrize(
    ("more", "param", "said"),
    [
        ({"input": ""}, "input", "empty text"),
        ({"input": []}, "input", "must be text"),
        ({"input": ["a", ""]}, "input", "empty text"),
        ({"input": ["a"] * 2049}, "input", "at most 2048"),
        ({"input": [[-1]]}, "input", "token ids"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "float"),
        ({"input": "a", "dimensions": 3}, "dimensions", "have 5 numbers"),
        ({"input": "a", "dimensions": 0}, "dimensions", "at least 1"),
        ({"input": ["a", "b " * 3000]}, "input[1]", "too many tokens"),
        ({"input": "a", "input_type": "query"}, "input_type", "not supported"),
        ({"input": "a", "colour": "red"}, "colour", "no such field"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(running, more, param, said):
    answer = running.raw().post("/v1/embeddings", json={"model": "stub", **more})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert said in error["message"]


def test_the_size_may_be_named(client):
    assert len(embed(client, "a", dimensions=5).data[0].embedding) == 5


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        embed(client, "a", model="none")


def test_an_engine_without_embeddings_says_so(client, running, monkeypatch):
    monkeypatch.setattr(type(running.engine), "can", frozenset())
    with pytest.raises(openai.BadRequestError, match="does not support embeddings") as told:
        embed(client, "a")
    assert told.value.code == "unsupported_model"


def test_the_limits_of_a_key_count(running):
    client = limited(running, tokens_per_minute=3)
    assert embed(client, "a b c d").data
    with pytest.raises(openai.RateLimitError, match="3 tokens per minute"):
        embed(client, "a")
    other = limited(running, models=("other",))
    with pytest.raises(openai.PermissionDeniedError):
        embed(other, "a")


def test_the_numbers_are_those_of_transformers(client, running, tmp_path):
    folder = make_chat_model(tmp_path / "tiny", kind="Qwen3")
    running.pool.engines["stub"] = engine = LocalEngine(folder, dtype="fp32", device="cpu")
    engine.context_length = 512
    texts = ["A tuna swims.", "金枪鱼在游泳。"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    try:
        answer = embed(client, texts)
        for text, told in zip(texts, answer.data, strict=True):
            with torch.inference_mode():
                said = model(torch.tensor([tokenizer.encode(text)]), output_hidden_states=True)
            last = said.hidden_states[-1][0, -1]
            torch.testing.assert_close(
                torch.tensor(told.embedding), last / last.norm(), rtol=1e-5, atol=1e-6
            )
        assert answer.usage.prompt_tokens == sum(len(tokenizer.encode(text)) for text in texts)
    finally:
        engine.scheduler.close()
