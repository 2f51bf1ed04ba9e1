"""Embeddings of an engine: transformers' own hidden states, pooled and of length one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.chat_model import make_chat_model
from tests.engines.test_process_engine import begin, loaded, make_lora
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunery.decode.embedding import pooling_of
from tunery.decode.local import LocalEngine
from tunery.engines.embed import Embedded
from tunery.engines.folder import EngineFolder
from tunery.engines.process import stop
from tunery.errors import EngineError

TEXT = "A tuna swims. 金枪鱼 <|im_end|> 🐟"


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNERY_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module", params=["Llama", "Qwen3", "Gemma2"])
def base(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("base") / "tiny", kind=request.param)


@pytest.fixture(scope="module")
def engine(base: Path, home: None) -> Iterator[LocalEngine]:
    made = LocalEngine(base, dtype="fp32", device="cpu")
    yield made
    asyncio.run(made.close())


def states(base: Path, ids: list[int], adapter: Path | None = None) -> torch.Tensor:
    """The last hidden states by transformers alone, [T, H]."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        said = model.eval()(torch.tensor([ids]), output_hidden_states=True)
    return said.hidden_states[-1][0]


def plain_ids(base: Path, text: str) -> list[int]:
    """Letters of the text alone: control tokens in it are text."""
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    return tokenizer.encode(text, split_special_tokens=True)


def unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / vector.norm()


def near(found: Embedded, wanted: torch.Tensor) -> None:
    got = torch.tensor(found.vector)
    assert got.norm() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_the_last_tokens_state_is_the_vector(base: Path, engine: LocalEngine) -> None:
    ids = plain_ids(base, TEXT)
    found = asyncio.run(engine.embed(TEXT))
    assert found.num_tokens == len(ids)
    near(found, unit(states(base, ids)[-1]))
    assert asyncio.run(engine.embed(ids)) == found


def test_an_adapter_is_worn(base: Path, engine: LocalEngine, tmp_path: Path) -> None:
    lora = make_lora(base, tmp_path / "lora")
    bare = asyncio.run(engine.embed(TEXT))
    found = asyncio.run(engine.embed(TEXT, adapter=str(lora)))
    near(found, unit(states(base, plain_ids(base, TEXT), lora)[-1]))
    assert found != bare
    assert asyncio.run(engine.embed(TEXT)) == bare


def test_the_numbers_do_not_depend_on_what_runs_beside(engine: LocalEngine) -> None:
    async def together() -> list[Embedded]:
        return await asyncio.gather(*(engine.embed(text) for text in (TEXT, "b", TEXT, "c d")))

    found = asyncio.run(together())
    assert found[0] == found[2] == asyncio.run(engine.embed(TEXT))


def test_what_cannot_be_read_is_refused(engine: LocalEngine) -> None:
    for wrong, code in (
        ("long " * 600, "too_long"),
        ([1] * 513, "too_long"),
        ([10**6], "bad_request"),
        ([], "bad_template"),
    ):
        with pytest.raises(EngineError) as refused:
            asyncio.run(engine.embed(wrong))
        assert refused.value.code == code


def test_a_folder_that_says_how_it_is_pooled_is_followed(tmp_path: Path) -> None:
    base = make_chat_model(tmp_path / "tiny")
    config = base / "1_Pooling" / "config.json"
    config.parent.mkdir()
    engine = LocalEngine(base, dtype="fp32", device="cpu")
    states_TH = states(base, plain_ids(base, TEXT))
    try:
        for name, wanted in {
            "pooling_mode_mean_tokens": states_TH.mean(0),
            "pooling_mode_cls_token": states_TH[0],
            "pooling_mode_lasttoken": states_TH[-1],
        }.items():
            config.write_text(json.dumps({"word_embedding_dimension": 64, name: True}))
            near(asyncio.run(engine.embed(TEXT)), unit(wanted))
        config.write_text(json.dumps({"pooling_mode_max_tokens": True}))
        with pytest.raises(EngineError, match="pooling_mode_max_tokens"):
            asyncio.run(engine.embed(TEXT))
    finally:
        asyncio.run(engine.close())
    assert pooling_of(tmp_path) == "last"


def test_no_memory_for_the_whole_model_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(make_chat_model(tmp_path / "tiny"), dtype="fp32", device="cpu")
    monkeypatch.setattr(
        "tunery.decode.embedding._check_free", lambda wanted: wanted < 0, raising=True
    )
    try:
        if engine.model.has_whole:
            engine.model._switch = None
        with pytest.raises(EngineError, match="not enough memory") as refused:
            asyncio.run(engine.embed("a"))
        assert refused.value.code == "queue_full"
    finally:
        asyncio.run(engine.close())


def test_the_process_gives_the_same(tmp_path: Path, tmp_path_factory: Any) -> None:
    base = make_chat_model(tmp_path / "tiny")
    folder = EngineFolder(tmp_path_factory.mktemp("engines") / "e")
    engine = begin(folder, base)
    try:
        asyncio.run(loaded(engine))
        found = asyncio.run(engine.embed(TEXT))
        near(found, unit(states(base, plain_ids(base, TEXT))[-1]))
        with pytest.raises(EngineError) as refused:
            asyncio.run(engine.embed([1] * 600))
        assert refused.value.code == "too_long"
        assert asyncio.run(engine.status()).state == "ready"
    finally:
        stop(folder)
