"""all-linear means layers beside which an adapter has an effect; the run says what it leaves."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tests.families import family
from tests.token_rows import of
from tests.train.architectures import random_rows
from tests.train.miniatures import miniature

from tunery.adapters.lora import Lora
from tunery.adapters.targets import frozen_experts, stacked_experts
from tunery.config.adapters.lora import LoraConfig
from tunery.data.collate import collate
from tunery.errors import ConfigError
from tunery.models.attach import adapter_tensors, load_adapter
from tunery.models.linear import left_out
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
STATE_SPACE = ("dt_proj", "out_proj", "x_proj")
LEFT_OUT = {
    "mamba": STATE_SPACE,
    "falcon_mamba": STATE_SPACE,
    **dict.fromkeys(("mamba2", "falcon_h1", "nemotron_h", "bamba"), ("out_proj",)),
    **dict.fromkeys(("llama4_text", "phimoe"), ("router",)),
    "deepseek_v4": ("o_a_proj",),
    **dict.fromkeys(("llama", "gpt2", "bloom", "falcon", "jetmoe", "roc_bert", "mixtral"), ()),
}
ALL_EXPERTS = LoraConfig(target_parameters="all-experts")


def two_steps(kind: str, settings: LoraConfig | None = None):
    """An adapter trained for two steps through the policy; its adapter and the model."""
    adapter = Lora(settings or LoraConfig())
    model = adapter.attach(miniature(kind), adapter=None, base_name="base")
    prepare(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    batch = collate(of(random_rows(lengths=(17, 9, 23))))
    for _ in range(2):
        Policy(model.train()).nll(batch).backward()
        optimizer.step()
    return adapter, model


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_every_adapter_of_all_linear_is_trained_and_the_rest_is_named(kind):
    found = left_out(miniature(kind)).exclude
    assert found == LEFT_OUT[kind]

    adapter, model = two_steps(kind)

    halves = {n: p for n, p in model.named_parameters() if "lora_B" in n}
    assert halves
    # an expert may get no token; an indexer chooses and has no gradient
    if kind not in ("phimoe", "mixtral", "jetmoe", "llama4_text", "deepseek_v4"):
        assert [n for n, p in halves.items() if p.grad is None or not p.grad.any()] == []
    told = " ".join(adapter.remarks(model))
    for name in LEFT_OUT[kind]:
        assert f"{name} (" in told
        assert not any(f".{name}." in n for n in halves)
    assert ("all-linear skips" in told) is bool(LEFT_OUT[kind])


@pytest.mark.parametrize("kind", ["gpt_oss", "qwen2_moe", "llama4_text", "jetmoe", "dbrx"])
def test_experts_that_are_not_trained_are_counted(kind):
    adapter, model = two_steps(kind)
    frozen = frozen_experts(model)
    base = dict(miniature(kind).named_parameters())
    assert frozen
    assert {name: base[name].numel() for name in frozen} == frozen
    (told,) = [text for text in adapter.remarks(model) if "experts" in text]
    assert f"{len(frozen)} stacked weights with {sum(frozen.values()):,} of" in told
    assert "--adapter.target_parameters all-experts" in told


def test_a_model_whose_experts_all_linear_covers_has_nothing_to_say():
    adapter, model = two_steps("mixtral")
    assert frozen_experts(model) == {}
    assert adapter.remarks(model) == []


@pytest.mark.parametrize("kind", ["gpt_oss", "qwen2_moe", "llama4_text"])
def test_stacked_experts_are_trained_on_request_and_read_back(kind, tmp_path: Path):
    adapter, model = two_steps(kind, ALL_EXPERTS)
    assert frozen_experts(model) == {}
    experts = [n for n, p in model.named_parameters() if "experts" in n and "lora_B" in n]
    assert len(experts) == 2 * len(stacked_experts(miniature(kind)))  # two layers
    assert any(p.grad is not None and p.grad.any() for p in map(model.get_parameter, experts))
    assert not any("experts" in text for text in adapter.remarks(model))

    adapter.write(model, family("chatml"), tmp_path)
    back = load_adapter(copy.deepcopy(miniature(kind)), tmp_path / "adapter")
    expected, found = adapter_tensors(model), adapter_tensors(back)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        logits = back.eval()(ids).logits
        assert torch.allclose(logits, model.eval()(ids).logits, atol=1e-5)
        merged = back.merge_and_unload()
        assert torch.allclose(merged(ids).logits, logits, atol=1e-4)


def test_a_parameter_that_is_not_there_and_a_model_without_experts_are_refused():
    with pytest.raises(ConfigError, match="this model has no stacked experts"):
        two_steps("llama", ALL_EXPERTS)
    with pytest.raises(ConfigError, match=r"adapter\.target_parameters: .*'experts\.nothing'"):
        two_steps("gpt_oss", LoraConfig(target_parameters=["experts.nothing"]))


def test_dropout_beside_stacked_weights_is_refused_before_anything_is_loaded():
    settings = LoraConfig(target_parameters="all-experts", dropout=0.1)
    ((path, found, fix),) = settings.excludes(None)
    assert path == "adapter.target_parameters"
    assert "adapter.dropout" in found
    assert "adapter.dropout to 0" in fix
