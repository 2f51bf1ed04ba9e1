"""What was trained is what is loaded: the values of an adapter's file reach every model type."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tests.families import family
from tests.train.miniatures import miniature

from tunery.adapters.lora import Lora
from tunery.chat.builtin import find
from tunery.config.adapters.lora import LoraConfig
from tunery.errors import ExportError, ModelError
from tunery.models.attach import adapter_tensors, load_adapter, unlike_file
from tunery.services.export import export

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
RENAMED_BY_PEFT = ("laguna", "inkling2_text")
KINDS = (
    *RENAMED_BY_PEFT,
    *("llama", "gpt2", "mixtral", "qwen2_moe", "qwen3_5_text", "gemma2", "deepseek_v4", "phi3"),
    *("gpt_oss", "bloom", "cohere2", "granitemoe", "olmo3", "rwkv"),
)
IDS = torch.arange(3, 40)[None]


def trained(kind: str, folder: Path) -> tuple[PeftModel, PeftModel]:
    """A base, and the same with an adapter that says something, written to ``adapter``."""
    base = miniature(kind)
    adapter = Lora(LoraConfig())
    lora = adapter.attach(copy.deepcopy(base), adapter=None, base_name="base")
    assert isinstance(lora, PeftModel)
    torch.manual_seed(1)
    for param in lora.parameters():
        if param.requires_grad:
            param.data.normal_(std=0.05)
    adapter.write(lora, family("chatml"), folder)
    return base, lora.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_loaded_with_every_value_that_was_trained(kind, tmp_path):
    base, lora = trained(kind, tmp_path)
    expected = {name: tensor.clone() for name, tensor in adapter_tensors(lora).items()}

    back = load_adapter(base, tmp_path / "adapter")

    found = adapter_tensors(back)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    if kind != "deepseek_v4":  # its grouped projection has no forward beside an adapter
        with torch.no_grad():
            assert torch.equal(back(IDS).logits, lora(IDS).logits)


@pytest.mark.parametrize("kind", ["MAGIC", None, ["LORA"]])
def test_a_kind_of_adapter_that_peft_does_not_know_is_refused_by_name(kind, tmp_path):
    base, _ = trained("llama", tmp_path)
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "peft_type": kind}))
    with pytest.raises(ModelError, match="which the installed PEFT does not support") as refused:
        load_adapter(base, tmp_path / "adapter")
    assert json.dumps(kind) in refused.value.message
    assert "LORA" in refused.value.fix


@pytest.mark.parametrize("kind", RENAMED_BY_PEFT)
def test_peft_alone_loses_them_which_is_noticed(kind, tmp_path):
    base, _ = trained(kind, tmp_path)
    plain = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert unlike_file(plain, tmp_path / "adapter" / "adapter_model.safetensors")


def test_two_adapters_on_one_base_keep_their_own_values(tmp_path):
    base, _ = trained("laguna", tmp_path)
    first = load_adapter(base, tmp_path / "adapter", "one")
    both = load_adapter(first, tmp_path / "adapter", "two")
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    for name in ("one", "two"):
        found = adapter_tensors(both, name)
        assert all(torch.equal(found[key], stored[key]) for key in stored)


def test_a_merged_export_holds_what_was_trained_and_an_adapter_that_peft_loses_is_refused(tmp_path):
    words = family("chatml")
    words.chat_template = find("chatml").text
    folder = tmp_path / "base"
    miniature("laguna", vocab_size=len(words)).save_pretrained(folder)
    words.save_pretrained(folder)
    from transformers import AutoModelForCausalLM

    adapter = Lora(LoraConfig())
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    lora = adapter.attach(loaded, adapter=None, base_name=str(folder))
    torch.manual_seed(1)
    for param in lora.parameters():
        if param.requires_grad:
            param.data.normal_(std=0.2)
    adapter.write(lora, words, tmp_path)
    with torch.no_grad():
        expected = lora.eval()(IDS).logits

    with pytest.raises(ExportError, match="6 of its tensors are not applied to a"):
        export(str(tmp_path / "adapter"), to="adapter", folder=tmp_path / "alone")
    assert not (tmp_path / "alone").exists()

    export(str(tmp_path / "adapter"), to="merged", folder=tmp_path / "merged", dtype="fp32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.allclose(merged(IDS).logits, expected, atol=1e-4)
