"""Quantized bases: what is quantized, its bytes, exact gradients, and the adapter on its own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tests.token_rows import of
from tests.train import tiny
from tests.train.architectures import random_rows
from torch import nn
from transformers import AutoModelForCausalLM

from tunery import env
from tunery.adapters.lora import Lora
from tunery.config import rules
from tunery.config.adapters import ADAPTERS
from tunery.config.adapters.lora import LoraConfig
from tunery.config.base import tag
from tunery.config.quantization import QUANTIZATIONS, QuantizationKind
from tunery.data.collate import collate
from tunery.errors import ConfigError, ModelError
from tunery.models.load import load_model, skeleton
from tunery.models.quantized import is_quantized, linear, num_parameters, weight_bytes
from tunery.policy.causal import is_causal
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare
from tunery.shape import ModelShape
from tunery.train.loop import train
from tunery.train.state import final

QUANTIZED = [kind for kind in QUANTIZATIONS if kind.quantizes]
TAGS = [tag(kind) for kind in QUANTIZED]
each = pytest.mark.parametrize("kind", QUANTIZED, ids=TAGS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("base"))


def loaded(base: Path, kind: QuantizationKind, dtype: torch.dtype = torch.float32) -> Any:
    return load_model(base, dtype=dtype, device="cpu", quantizer=kind.make())


def dequantized(model: nn.Module) -> nn.Module:
    """A plain copy of a quantized model, with the values that its weights stand for."""
    import bitsandbytes.functional as four_bit

    plain = AutoModelForCausalLM.from_config(model.config)
    values: dict[str, Any] = {}
    for name, module in model.named_modules():
        weight: Any = getattr(module, "weight", None)
        if not isinstance(weight, torch.Tensor):
            continue
        if getattr(weight, "quant_state", None) is not None:
            weight = four_bit.dequantize_4bit(weight.data, weight.quant_state)
        elif weight.dtype == torch.int8:
            weight = weight.data * module.weight.SCB[:, None] / 127  # type: ignore[union-attr]
        elif is_quantized(module):
            weight = weight.dequantize()
        values[f"{name}.weight"] = weight.detach().float()
    plain.load_state_dict(values)
    return plain.eval()


@each
def test_a_quantized_base_has_the_bytes_that_the_plan_says(base: Path, kind: Any) -> None:
    for dtype, width in ((torch.float32, 4), (torch.bfloat16, 2)):
        chosen = kind()
        bones = skeleton(base)
        model = loaded(base, chosen, dtype)
        assert linear(model) == chosen.make().linear(bones)
        assert num_parameters(model) == num_parameters(bones)
        shape = ModelShape.from_config_json(
            model.config.to_dict(), total_parameters=num_parameters(bones)
        )
        assert shape.linear == linear(model)  # a dense model: the shape alone tells
        # The tables of levels, a kilobyte per layer, do not count in a real model.
        tables = 4 * sum(
            sum(code.numel() for code in (state.code, *_nested(state)))
            for state in (getattr(p, "quant_state", None) for p in model.parameters())
            if state is not None
        )
        found = weight_bytes(model) - tables
        assert found == pytest.approx(chosen.weight_bytes(shape, width), rel=0.02)
        kept = (shape.total_parameters - shape.linear[0]) * width
        full = shape.linear[0] * 2
        assert found - kept <= (0.3 if chosen.layer_bytes(1000, 1, 2) < 800 else 0.55) * full


def _nested(state: Any) -> list[Any]:
    return [state.state2.code] if state.nested else []


@each
def test_gradients_after_an_evaluation_are_those_of_the_weights(base: Path, kind: Any) -> None:
    given = {"outlier_threshold": 0.0} if "outlier_threshold" in kind.model_fields else {}
    model = loaded(base, kind(**given))
    reference = dequantized(model)
    batch = collate(of(random_rows(lengths=(17, 9, 23))))
    found: list[dict[str, torch.Tensor]] = []
    for each_model in (model, reference):
        torch.manual_seed(3)
        adapter = Lora(LoraConfig(rank=4))
        assert is_causal(each_model)  # a forward pass in eval mode
        wrapped = adapter.attach(each_model, adapter=None, base_name="base")
        with torch.no_grad():
            for name, param in wrapped.named_parameters():
                if "lora_B" in name:
                    param.copy_(torch.randn(param.shape) * 0.05)
        ways = prepare(wrapped)
        assert ways.packed
        assert not ways.why
        Policy(wrapped.train()).nll(batch).backward()
        found.append({n: p.grad for n, p in wrapped.named_parameters() if p.grad is not None})
    ours, theirs = found
    assert ours.keys() == theirs.keys()
    exact = not given  # LLM.int8() also rounds the activations
    for name, gradient in ours.items():
        error = (gradient - theirs[name]).norm() / theirs[name].norm()
        assert error < (1e-4 if exact else 0.15), name


@each
def test_plain_peft_on_the_same_base_gives_the_same_logits(tmp_path: Path, kind: Any) -> None:
    made = tiny.config(
        quantization={"type": tag(kind)},
        adapter={"type": "lora", "rank": 4},
        train={"batch_size": 8, "max_steps": 4, "num_epochs": 9},
    )
    place = tiny.context(tmp_path, made)
    with place.events:
        job = tiny.build(place)
        train(job)
        path = final.write(place.folder, job.adapter, job.policy.model, job.data.tokenizer)
    ids = torch.arange(5, 25)[None]
    said = job.policy.model.eval()(ids).logits
    options = kind().make().load_options(tiny.model(), torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32, **options)
    plain.train()  # in eval mode, bitsandbytes computes in bf16 on some processors
    before = plain(ids).logits
    beside = PeftModel.from_pretrained(plain, str(path)).train()
    assert torch.allclose(beside(ids).logits, said, atol=1e-2 if kind is _int8() else 1e-4)
    assert not torch.allclose(before, said, atol=0.05)
    steps = tiny.events(tmp_path, "step")
    assert steps[-1]["loss"] < steps[0]["loss"]
    [plan] = tiny.events(tmp_path, "plan")
    assert plan["total_parameters"] == num_parameters(tiny.model())
    assert plan["dtype"] == "float32"


def _int8() -> Any:
    return next(kind for kind in QUANTIZED if "outlier_threshold" in kind.model_fields)


@pytest.mark.parametrize("adapter", [a for a in ADAPTERS if a.writes == "model"])
def test_training_the_quantized_weights_is_refused_before_anything_is_loaded(adapter: Any) -> None:
    for kind in QUANTIZED:
        made = tiny.config(quantization={"type": tag(kind)}, adapter={"type": tag(adapter)})
        with pytest.raises(ConfigError, match="quantized weights cannot be trained") as refused:
            rules.check(made)
        assert "adapter.type to lora" in refused.value.fix
    rules.check(tiny.config(adapter={"type": tag(adapter)}))


@each
def test_without_its_package_a_kind_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n in kind.packages else found(n, *a)
    )
    with pytest.raises(ConfigError, match=kind.packages[0]) as refused:
        kind().check_installed()
    assert "pip install 'tunery[quantize]'" in refused.value.fix


def test_modules_to_skip_stay_as_they_are_and_must_exist(base: Path) -> None:
    chosen = QUANTIZED[0](skip_modules=["down_proj", "layers.1"])
    model = loaded(base, chosen)
    names = {name for name, module in model.named_modules() if is_quantized(module)}
    inside = model.model.layers[0].self_attn
    assert is_quantized(inside.q_proj)
    assert names
    assert all("down_proj" not in name and ".1." not in name for name in names)
    assert not is_quantized(model.lm_head)
    with pytest.raises(ConfigError, match="down_poj") as refused:
        loaded(base, QUANTIZED[0](skip_modules=["down_poj"]))
    assert "down_proj" in refused.value.fix
    everything = QUANTIZED[0](skip_modules=["layers"])
    with pytest.raises(ConfigError, match="no linear layers"):
        loaded(base, everything)


def test_a_weight_that_is_not_finite_is_refused_though_it_is_quantized(tmp_path: Path) -> None:
    base = tiny.folder(tmp_path / "base")
    file = base / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.0.mlp.up_proj.weight"][3, 5] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="up_proj"):
        loaded(base, QUANTIZED[0]())


def test_the_run_knows_how_its_base_was_quantized(tmp_path: Path) -> None:
    config = json.loads((tiny.folder(tmp_path) / "config.json").read_text())
    shape = ModelShape.from_config_json(config)
    facts = {json.dumps(kind().facts(), sort_keys=True) for kind in QUANTIZED}
    assert len(facts) == len(QUANTIZED)
    assert all(kind.packages[0] in kind().facts() for kind in QUANTIZED)
    small = [kind().weight_bytes(shape, 2) for kind in QUANTIZED]
    assert max(small) < QUANTIZATIONS[0]().weight_bytes(shape, 2)


@pytest.mark.parametrize("method", ["gptq", "awq", "compressed-tensors", "fp8", "mxfp4"])
def test_a_checkpoint_that_is_quantized_already_is_refused_by_name_before_a_run(
    tmp_path: Path, method: str
) -> None:
    from tunery.config.load import from_tokens
    from tunery.services.runs import prepare

    model = tiny.folder(tmp_path / "model")
    settings = json.loads((model / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": method}
    (model / "config.json").write_text(json.dumps(settings))
    rows = tiny.chats(tmp_path / "rows.jsonl")
    with pytest.raises(ModelError, match=rf"quantized \({method}\)") as refused:
        prepare(from_tokens(["--model", str(model), "--data.train", str(rows)]), "never")
    assert "Use the version that is not quantized" in refused.value.fix
    assert not (env.runs_dir() / "never").exists()


@pytest.mark.parametrize("given", [{"use_dora": True}, {"init": "pissa"}, {"init": "olora"}])
def test_an_adapter_that_needs_the_values_of_the_weights_is_refused(given: Any) -> None:
    adapter = {"type": "lora", **given}
    with pytest.raises(ConfigError, match="need the unquantized weights"):
        rules.check(tiny.config(quantization={"type": TAGS[0]}, adapter=adapter))
    rules.check(tiny.config(adapter=adapter))
