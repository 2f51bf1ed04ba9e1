"""The engine in this process: the suite, for a model that was loaded whole and for a known one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.chat_model import make_chat_model
from tests.engines.conformance import SHORT, EngineConformance, collect, text_of
from tests.engines.test_process_engine import make_lora

from tunery.data.letters import byte_letters
from tunery.decode.fast import files
from tunery.decode.local import LocalEngine
from tunery.engines import wire
from tunery.engines.base import Delta, SamplingOptions
from tunery.errors import EngineError
from tunery.server.openai.choices import chat_logprob


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNERY_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def lora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_lora(base, tmp_path_factory.mktemp("lora")))


@pytest.fixture(scope="module")
def whole(base: Path, home: None) -> Iterator[LocalEngine]:
    """Loaded by transformers, which the fast pass has been compared with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "known", lambda folder, **where: False)
        engine = LocalEngine(base, dtype="fp32", device="cpu")
    assert engine.model.has_whole
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def known(base: Path, whole: LocalEngine) -> Iterator[LocalEngine]:
    """Loaded after it was compared: transformers' module is not made."""
    assert files.known(base, dtype=torch.float32, device="cpu")
    engine = LocalEngine(base, dtype="fp32", device="cpu")
    assert engine.model.fast is not None
    assert engine.model._switch is None
    yield engine
    asyncio.run(engine.close())


class TestKnown(EngineConformance):
    @pytest.fixture
    def engine(self, known: LocalEngine) -> LocalEngine:
        return known

    @pytest.fixture
    def adapter(self, lora: str) -> str:
        return lora


def test_a_known_model_says_what_it_said_when_it_was_loaded_whole(
    whole: LocalEngine, known: LocalEngine, lora: str
) -> None:
    async def said(engine: LocalEngine, adapter: str | None) -> tuple[str, list[float]]:
        request = replace(SHORT, max_tokens=30, adapter=adapter)
        text = text_of(await collect(engine, request))
        return text, await engine.score(list(range(3, 90)), adapter=adapter)

    for adapter in (None, lora):
        text, scores = asyncio.run(said(whole, adapter))
        again, others = asyncio.run(said(known, adapter))
        assert again == text
        assert others == pytest.approx(scores, abs=1e-4)


def test_weights_that_were_packed_are_not_held_twice(known: LocalEngine) -> None:
    fast = known.model.fast
    assert fast is not None
    assert all(layer.weight.is_meta for each in fast.weights.linears for layer in each.layers)
    norms = [norm for layer in fast.weights.layers for norm in (layer.norm, layer.norm_mlp)]
    kept = [fast.weights.embedding, fast.weights.norm, *norms]
    assert not any(tensor.is_meta for tensor in kept)
    (own,) = {norm.untyped_storage().nbytes() // norm.nbytes for norm in norms}
    assert own == 1, "a norm keeps the whole file mapped"


def test_the_first_load_keeps_no_more_than_a_later_one(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNERY_HOME", str(tmp_path))
    assert not files.known(base, dtype=torch.float32, device="cpu")
    engine = LocalEngine(base, dtype="fp32", device="cpu")
    try:
        test_weights_that_were_packed_are_not_held_twice(engine)
        assert not engine.model.has_whole, "transformers' module is kept beside the fast pass"
    finally:
        asyncio.run(engine.close())


def test_a_changed_file_is_not_known(base: Path, whole: LocalEngine, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in base.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    where = {"dtype": torch.float32, "device": "cpu"}
    assert not files.known(copy, **where)
    files.remember(copy, **where)
    assert files.known(copy, **where)
    assert not files.known(copy, dtype=torch.bfloat16, device="cpu")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert not files.known(copy, **where)


def test_an_answer_may_begin_otherwise_than_its_schema(whole: LocalEngine):
    """Bias towards the mark of a call: it is taken with ``schema_unless`` and not without."""
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    (mark,) = whole.model.tokenizer.encode("x", add_special_tokens=False)[:1]
    asked = replace(
        SHORT, json_schema=schema, max_tokens=4, sampling=SamplingOptions(logit_bias={mark: 100})
    )
    text = text_of(asyncio.run(collect(whole, asked)))
    assert '{"a": '.startswith(text[:1])
    free = replace(asked, schema_unless=["x"])
    assert text_of(asyncio.run(collect(whole, free))) == "xxxx"


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string", "pattern": "("},
         "the regular expression ( is not valid: unclosed group."),
        ({"type": "string", "pattern": "a(?=b)"},
         "the regular expression a(?=b) is not valid: look-around, including look-ahead and "
         "look-behind, is not supported."),
        ({"type": "zork"}, "Invalid type: zork."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("unless", [(), ("x",)])
def test_a_broken_schema_is_refused_with_the_whole_reason(
    whole: LocalEngine, schema, reason, unless
):
    with pytest.raises(EngineError) as told:
        asyncio.run(collect(whole, replace(SHORT, json_schema=schema, schema_unless=unless)))
    assert reason.rstrip(".") in told.value.message
    assert told.value.fix.startswith("Correct the schema")
    if not unless:
        assert told.value.message == f"The JSON schema cannot be used: {reason}"


CALLS = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c", "content": "20"},
]  # fmt: skip


def test_a_template_without_tools_is_named_in_words_of_a_request(whole: LocalEngine):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    for asked in (replace(SHORT, messages=CALLS), replace(SHORT, tools=[tool])):
        with pytest.raises(EngineError) as told:
            asyncio.run(collect(whole, asked))
        assert told.value.code == "bad_template"
        assert told.value.message == (
            "This model's chat template has no place for tools, tool calls or tool results."
        )
        for word in ("--", "model.template", "row"):
            assert word not in str(told.value)


def test_a_token_outside_the_vocabulary_is_the_caller_s_fault(whole: LocalEngine):
    foreign = replace(SHORT, messages=None, prompt_ids=[1, 10**8])
    biased = replace(SHORT, sampling=SamplingOptions(logit_bias={10**8: 1}))
    for request in (foreign, biased):
        with pytest.raises(EngineError) as told:
            asyncio.run(collect(whole, request))
        assert told.value.code == "bad_request"


def test_logprobs_have_the_bytes_of_parts_of_a_character(known: LocalEngine) -> None:
    asked = replace(SHORT, top_logprobs=3, max_tokens=24, sampling=SamplingOptions(1.0, seed=5))
    deltas = [e for e in asyncio.run(collect(known, asked)) if isinstance(e, Delta)]
    ids = [token for delta in deltas for token in delta.token_ids]
    told = [chat_logprob(each) for delta in deltas for each in delta.logprobs]
    letters = byte_letters()
    pieces = [str(piece) for piece in known.model.tokenizer.convert_ids_to_tokens(ids)]
    assert any(letters[piece] > 127 for piece in pieces)
    assert [each["bytes"] for each in told] == [[letters[piece]] for piece in pieces]
    assert all(len(top["bytes"]) >= 1 for each in told for top in each["top_logprobs"])
    again = wire.event_from_dict(json.loads(json.dumps(wire.event_to_dict(deltas[0]))))
    assert again == deltas[0]
