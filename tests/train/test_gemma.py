"""Gemma 3n and Gemma 4 in miniature: chat says what transformers says, and exports are equal."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.engines.test_process_engine import make_lora
from tests.families import family
from tests.train.miniatures import settings
from transformers import AutoModelForCausalLM

from tunery.chat.builtin import find
from tunery.decode.local import LocalEngine
from tunery.engines.base import Delta, GenerateRequest
from tunery.errors import ModelError
from tunery.models.load import load_model, skeleton
from tunery.services.export import export

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNERY_HOME", str(tmp_path / "home"))


def made(kind: str, folder: Path) -> Any:
    """A random model of the kind with a tokenizer, saved; text and pictures where it has both."""
    words = family("chatml")
    words.chat_template = find("chatml").text
    config = settings(kind)
    text = config.get_text_config()
    for name in ("vocab_size", "vocab_size_per_layer_input"):
        if getattr(text, name, None) is not None:
            setattr(text, name, len(words))
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("kind", ["gemma3n_text", "gemma4_text", "gemma4", "gemma4_unified"])
def test_chat_and_exports(kind: str, tmp_path: Path) -> None:
    base = tmp_path / kind
    model = made(kind, base)
    ids = family("chatml").encode("hello there")
    with torch.inference_mode():
        said = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)
    engine = LocalEngine(base, dtype="fp32", device="cpu")

    async def tokens(adapter: str | None = None) -> list[int]:
        asked = GenerateRequest(prompt_ids=ids, max_tokens=8, stop_ids=(), adapter=adapter)
        events = [e async for e in engine.generate(asked)]
        return [token for e in events if isinstance(e, Delta) for token in e.token_ids]

    try:
        bare = asyncio.run(tokens())
        assert bare == said[0, len(ids) :].tolist()
        lora = make_lora(base, tmp_path / "lora")
        assert asyncio.run(tokens(str(lora))) != bare
    finally:
        asyncio.run(engine.close())
    for to in ("merged", "adapter"):  # each is opened with plain transformers and compared
        assert export(str(lora), tmp_path / to, to=to, device="cpu", dtype="fp32")


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_a_package_that_a_model_needs_is_named(tmp_path: Path) -> None:
    text = tmp_path / "text"
    made("gemma3n_text", text)
    whole = tmp_path / "gemma3n"
    shutil.copytree(text, whole)
    settings("gemma3n").save_pretrained(whole)
    for load in (skeleton, lambda folder: load_model(folder, dtype=torch.float32, device="cpu")):
        with pytest.raises(ModelError, match="needs the package timm") as refused:
            load(whole)
        assert refused.value.fix == "Install it: pip install timm"
