"""Which layers get an adapter, and what is said of the rest (M5, M8, A1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.train.miniatures import miniature

from tunery.adapters.linear import experts, linear_layers
from tunery.config.adapters.lora import LoraConfig
from tunery.errors import ConfigError

IDS = torch.randint(3, 299, (1, 12), generator=torch.Generator().manual_seed(0))
LEFT_OUT = {
    "deepseek_v4": "o_a_proj ×2",
    "falcon_mamba": "out_proj ×2",
    "llama4_text": "router ×2",
    "mamba": "out_proj ×2",
    "mamba2": "out_proj ×2",
    "nemotron_h": "out_proj ×1",
    "phimoe": "router ×2",
}
EXPERTS = {"gpt_oss", "jamba", "llama4_text", "qwen2_moe", "qwen3_5_moe_text", "qwen3_moe"}


def trained(config: LoraConfig, model: Any) -> Any:
    """Attach and go back once; every trained weight of the layers that took part has a gradient."""
    found = config.make().attach(model, adapter=None, base_name="base")
    found.train()
    found(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    return found


@pytest.mark.parametrize("kind", sorted(LEFT_OUT))
def test_what_cannot_carry_an_adapter_is_left_out_and_named(kind: str) -> None:
    model = miniature(kind)
    adapter: Any = LoraConfig().make()
    said = " ".join(adapter.remarks(model))
    assert LEFT_OUT[kind] in said
    able, unable = linear_layers(model)
    found = trained(LoraConfig(), model)
    wrapped = {n.split(".lora_A")[0] for n, _ in found.named_modules() if n.endswith("lora_A")}
    assert {name.removeprefix("base_model.model.") for name in wrapped} == set(able)
    assert not wrapped & set(unable)


def test_a_plain_model_keeps_all_linear_and_says_nothing() -> None:
    model = miniature("llama")
    assert LoraConfig().make().remarks(model) == []
    assert linear_layers(model)[1] == []


@pytest.mark.parametrize("kind", sorted(EXPERTS))
def test_experts_without_an_adapter_are_named_with_the_setting_that_trains_them(kind: str) -> None:
    model = miniature(kind)
    (said,) = [text for text in LoraConfig().make().remarks(model) if "experts" in text]
    named = said.partition("--adapter.target_parameters ")[2].rstrip(".").split(",")
    assert named == list(experts(model))
    config = LoraConfig(target_parameters=named)
    assert not any("experts" in text for text in config.make().remarks(model))


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern:RuntimeWarning")
@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss"])
def test_trained_experts_are_saved_as_peft_reads_them(kind: str, tmp_path: Path) -> None:
    config = LoraConfig(target_parameters=list(experts(miniature(kind))))
    adapter: Any = config.make()
    model = adapter.attach(miniature(kind), adapter=None, base_name="base")
    for name, param in model.named_parameters():
        if param.requires_grad:
            assert "lora" in name
            param.data.normal_(std=0.02, generator=torch.Generator().manual_seed(len(name)))
    with torch.no_grad():
        expected = model(input_ids=IDS).logits
        plain = miniature(kind)(input_ids=IDS).logits
    assert (expected - plain).abs().max() > 1e-3
    adapter.write(model, None, tmp_path)
    with torch.no_grad():
        ours = config.make().attach(miniature(kind), adapter=tmp_path / "adapter", base_name="b")
        theirs = PeftModel.from_pretrained(miniature(kind), str(tmp_path / "adapter"))
        for read in (ours, theirs):
            assert torch.equal(read(input_ids=IDS).logits, expected)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target_modules": ["qproj"]}, "no module 'qproj'. Did you mean q_proj / "),
        ({"target_modules": ["all"]}, "all-linear"),
        ({"target_parameters": ["experts.up"]}, "no module 'experts.up'"),
    ],
)
def test_a_name_that_is_none_is_refused_with_those_there_are(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        LoraConfig(**settings).make().attach(miniature("llama"), adapter=None, base_name="b")
    assert said in str(caught.value)


def test_a_router_that_is_named_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="'router' cannot carry an adapter"):
        LoraConfig(target_modules=["router", "q_proj"]).make().attach(
            miniature("llama4_text"), adapter=None, base_name="b"
        )
