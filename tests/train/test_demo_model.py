"""The embedded default model: fetched, converted, and itself."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from tests.models import models_home

from tunery.models import demo, load
from tunery.models.importing import read_record, sha256_of
from tunery.models.quantized import num_parameters


def test_the_demo_model_is_converted_from_the_pinned_file(demo_model: Path) -> None:
    record = read_record(demo_model)
    assert record is not None
    assert record["source"]["sha256"] == demo.GGUF_SHA256
    for name, entry in record["files"].items():
        assert sha256_of(demo_model / name) == entry["sha256"], name
    assert not list(models_home().glob("models/.staging*"))
    assert not (models_home() / "models" / ".parts-demo").exists()


def test_the_demo_tokenizer_is_the_published_one(demo_model: Path) -> None:
    tokenizer = load.load_tokenizer(demo_model)
    ids = tokenizer("x   12<|im_end|>", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["x", "ĠĠĠ", "1", "2", "<|im_end|>"]
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.model_max_length == 8192
    assert "SmolLM" in str(tokenizer.chat_template)


def test_loading_opens_no_socket(demo_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load.load_tokenizer(demo_model)
    load.load_model(demo_model, dtype=torch.bfloat16, device="cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_demo_model_knows_the_capital_of_france(demo_model: Path, dtype: torch.dtype) -> None:
    model = load.load_model(demo_model, dtype=dtype, device="cpu")
    tokenizer = load.load_tokenizer(demo_model)
    assert num_parameters(model) == 134_515_008
    assert not model.training
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**prompt, max_new_tokens=10, do_sample=False)[0]
    assert "Paris" in tokenizer.decode(answer[prompt["input_ids"].shape[1] :])
