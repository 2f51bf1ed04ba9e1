"""Every kind of LoRA: trained, written in PEFT's format, resumed, and equal to plain PEFT."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftLora
from peft import PeftModel, get_peft_model
from tests.families import family
from tests.train import tiny
from tests.train.test_conformance import plain, settings
from tests.train.test_resume import run_in_two
from tests.unit.test_generate import reference

from tunery.adapters.lora import Lora
from tunery.config.adapters.lora import LoraConfig
from tunery.decode.decoder import Decoder
from tunery.errors import ConfigError
from tunery.export.merged import merge
from tunery.kernels import lora as fast
from tunery.models import load
from tunery.models.attach import load_adapter
from tunery.shape import ModelShape
from tunery.train.loop import train
from tunery.train.state import final

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
IDS = torch.arange(5, 25)[None]
BOTH = {
    "use_rslora": True,
    "rank_pattern": {"down_proj": 2, "q_proj": 6},
    "alpha_pattern": {"k_proj": 4},
}
KINDS: list[dict[str, Any]] = [
    {"use_dora": True},
    {"use_dora": True, "use_rslora": True, "modules_to_save": ["norm"]},
    {"init": "gaussian"},
    {"init": "orthogonal"},
    {"init": "pissa"},
    {"init": "pissa", "pissa_niter": 4},
    {"init": "pissa", **BOTH},
    {"init": "olora"},
    BOTH,
    {"lora_plus_ratio": 8.0},
    {"layers_to_transform": [1]},
    {"target_modules": r".*\.(q|v)_proj", "layers_to_transform": [0]},
    {"exclude_modules": ["down_proj", "self_attn.k_proj"]},
    {"exclude_modules": r".*layers\.0\..*"},
    {"modules_to_save": ["embed_tokens"]},
    {"modules_to_save": ["embed_tokens", "lm_head"], "target_modules": ["q_proj"]},
]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("given", KINDS, ids=str)
def test_what_was_trained_is_what_plain_peft_opens_and_what_is_merged(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    made = settings(adapter={"type": "lora", "rank": 4, **given}, evaluate={"every": "never"})
    place = tiny.context(tmp_path, made)
    before = tiny.model()
    shape = ModelShape.from_config_json(
        before.config.to_dict(), total_parameters=sum(p.numel() for p in before.parameters())
    )
    with place.events:
        job = tiny.build(place)
        assert job.optimizer.num_parameters == made.adapter.trained(shape)
        model = job.policy.model
        assert torch.allclose(logits(model), logits(before), atol=1e-5)
        train(job)
        path = final.write(place.folder, job.adapter, model, job.data.tokenizer)
    trained = logits(model)
    assert (trained - logits(before)).abs().max() > 0.1
    off = job.adapter.off(model)
    assert off is not None
    with off():
        assert torch.equal(logits(model), logits(before))
    again = job.adapter.off(model)
    assert again is not None
    assert torch.equal(logits(model), trained)

    beside = PeftModel.from_pretrained(tiny.model(), str(path))
    torch.testing.assert_close(logits(beside), trained, rtol=0, atol=2e-6)
    merged = merge(load_adapter(tiny.model(), path))
    merged.save_pretrained(tmp_path / "merged")
    reopened = type(merged).from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(reopened), trained, rtol=0, atol=5e-6)


RESUMED: list[tuple[dict[str, Any], str]] = [
    ({"use_dora": True, "dropout": 0.1}, "muon"),
    ({"init": "pissa", "pissa_niter": 2, "dropout": 0.1}, "adamw"),
    ({"init": "olora", "use_rslora": True}, "muon"),
    ({"lora_plus_ratio": 8.0, "dropout": 0.1, "modules_to_save": ["embed_tokens"]}, "adamw"),
]


@pytest.mark.parametrize(("given", "optimizer"), RESUMED, ids=str)
def test_every_kind_resumes_to_the_bit(
    tmp_path: Path, given: dict[str, Any], optimizer: str
) -> None:
    made = settings(
        adapter={"type": "lora", "rank": 4, **given},
        optim={"type": optimizer, "learning_rate": 1e-3},
    )
    parts = {"data": plain(), "held_out": plain(6, seed=8)}
    assert tiny.run(tmp_path / "whole", made, **parts) == "finished"
    run_in_two(tmp_path / "cut", made, 2, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")


def attached(base: Any, **given: Any) -> tuple[Lora, Any]:
    """A new adapter on a copy of a model."""
    adapter = Lora(LoraConfig(rank=4, **given))
    torch.manual_seed(1)
    return adapter, adapter.attach(copy.deepcopy(base), adapter=None, base_name="base")


def stepped(model: Any, count: int = 3) -> Any:
    """A model after a few steps of plain gradient descent."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    model.train()
    for _ in range(count):
        optimizer.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_a_start_from_the_weights_learns_what_pefts_own_learns(init: str) -> None:
    """PEFT moves the start out of the base; here the base stays and the start is subtracted."""
    base = tiny.model()
    options = PeftLora(
        r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=init,  # type: ignore[arg-type]
        task_type="CAUSAL_LM",
    )  # fmt: skip
    theirs = stepped(get_peft_model(copy.deepcopy(base), options))
    _, ours = attached(base, init=init)
    assert fast.install(ours) == 14
    stepped(ours)
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-4, atol=1e-5)
    assert (logits(ours) - logits(base)).abs().max() > 0.01
    fast.uninstall(ours)
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-4, atol=1e-5)


def test_an_approximate_pissa_comes_near_the_exact_one() -> None:
    products = []
    for niter in (None, 40):
        _, model = attached(tiny.model(), init="pissa", pissa_niter=niter)
        layer = model.base_model.model.model.layers[0].mlp.up_proj
        products.append(layer.lora_B["default"].weight @ layer.lora_A["default"].weight)
    exact, near = products
    assert (near - exact).norm() / exact.norm() < 0.02


def moved(model: Any) -> Any:
    torch.manual_seed(5)
    for name, param in model.named_parameters():
        if "lora_B" in name or "magnitude" in name:
            param.data += 0.05 * torch.randn_like(param)
    return model


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, 14), ({"use_rslora": True}, 14), ({"use_dora": True}, 0), ({"init": "pissa"}, 14)],
    ids=str,
)
def test_each_layer_takes_the_fast_way_only_where_it_is_the_same(
    given: dict[str, Any], count: int
) -> None:
    """``count`` is how many layers compute their result in one function."""
    _, model = attached(tiny.model(), **given)
    moved(model).eval()
    fast.uninstall(model)
    expected = logits(model)
    fast.install(model)
    layers = [m for m in model.modules() if isinstance(m, fast.Linear)]
    chosen = [m for m in layers if m._one_plain_adapter(torch.zeros(1, m.in_features), False)]
    assert len(chosen) == count
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "given", [{"use_dora": True}, {"init": "pissa"}, {"init": "olora"}], ids=str
)
def test_a_model_in_bfloat16_begins_as_it_was_and_is_written_as_it_was_trained(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    base = tiny.model(torch.bfloat16)
    adapter, model = attached(base, **given)
    fast.install(model)
    weights = [p for n, p in model.named_parameters() if "base_layer" in n]
    originals = [p for n, p in base.named_parameters() if n.endswith("_proj.weight")]
    assert all(torch.equal(a, b) for a, b in zip(weights, originals, strict=True))
    torch.testing.assert_close(logits(model), logits(base), rtol=0, atol=2e-2)
    moved(model)
    adapter.write(model, family("chatml"), tmp_path)
    back = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "adapter"))
    change = (logits(model) - logits(base)).float().norm()
    assert (logits(back) - logits(model)).float().norm() / change < 0.1


@pytest.mark.parametrize("given", [{"init": "pissa"}, {"use_dora": True}, BOTH], ids=str)
def test_a_live_model_answers_with_what_it_has_learned(given: dict[str, Any]) -> None:
    _, model = attached(tiny.model(), **given)
    fast.install(model)
    moved(model).eval()
    found = Decoder(model).answer([[5, 9, 30]], stop_ids=(), max_tokens=8)
    assert [answer.ids for answer in found] == [reference(model, [5, 9, 30], [], 8)]


def test_the_file_says_plain_lora_of_twice_the_rank(tmp_path: Path) -> None:
    adapter, model = attached(tiny.model(), init="pissa", **BOTH)
    adapter.write(model, family("chatml"), tmp_path)
    stored = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (stored["r"], stored["init_lora_weights"]) == (8, True)
    assert stored["rank_pattern"] == {"down_proj": 4, "q_proj": 12}
    assert stored["lora_alpha"] == pytest.approx(16 * 2**0.5)


def test_lora_plus_multiplies_the_learning_rate_of_b_alone(tmp_path: Path) -> None:
    found = []
    for ratio in (1.0, 8.0):
        given = {"type": "lora", "rank": 4, "lora_plus_ratio": ratio}
        sizes = {"batch_size": 8, "max_steps": 1, "micro_batch_tokens": 4096, "num_threads": 1}
        made = settings(adapter=given, train=sizes, evaluate={"every": "never"})
        place = tiny.context(tmp_path / str(ratio), made)
        with place.events:
            job = tiny.build(place)
            named = {n: p for n, p in job.policy.model.named_parameters() if p.requires_grad}
            first = {name: p.detach().clone() for name, p in named.items()}
            train(job)
        found.append({name: p.detach() - first[name] for name, p in named.items()})
    for name, change in found[0].items():
        factor = 8.0 if "lora_B" in name else 1.0
        torch.testing.assert_close(found[1][name], factor * change, rtol=1e-4, atol=1e-7)


def test_settings_choose_the_layers_and_their_ranks() -> None:
    _, model = attached(
        tiny.model(), exclude_modules=["o_proj"], layers_to_transform=[1],
        rank_pattern={"mlp.*": 2, "layers.1.self_attn.q_proj": 6}, alpha_pattern={"v_proj": 5.0},
    )  # fmt: skip
    chosen = {
        name.removeprefix("base_model.model.model.layers."): (m.r["default"], m.scaling["default"])
        for name, m in model.named_modules()
        if hasattr(m, "lora_A")
    }
    assert chosen == {
        "1.self_attn.q_proj": (6, 16 / 6),
        "1.self_attn.k_proj": (4, 4.0),
        "1.self_attn.v_proj": (4, 1.25),
        "1.mlp.gate_proj": (2, 8.0),
        "1.mlp.up_proj": (2, 8.0),
        "1.mlp.down_proj": (2, 8.0),
    }


def test_a_module_is_named_by_whole_parts_of_its_name() -> None:
    """PEFT alone would wrap every module whose name ends in these letters: input_layernorm too."""
    _, model = attached(tiny.model(), modules_to_save=["norm"])
    saved = [name for name, m in model.named_modules() if hasattr(m, "original_module")]
    assert saved == ["base_model.model.model.norm"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target_modules": r".*qproj\d"}, "no linear layer of this model matches '.*qproj"),
        ({"exclude_modules": ["down"]}, "no module 'down'. Did you mean down_proj?"),
        ({"exclude_modules": r".*"}, "No linear layer of this model is selected by adapter.excl"),
        ({"layers_to_transform": [0, 2]}, "no decoder layer 2 with linear layers. Its layers have"),
        ({"rank_pattern": {"q_prj": 4}}, "no module 'q_prj'. Did you mean q_proj"),
        ({"alpha_pattern": {"lm_head": 4}}, "no module 'lm_head'."),
        ({"modules_to_save": ["lmhead"]}, "no module 'lmhead'. Did you mean lm_head?"),
        (
            {"init": "pissa", "rank_pattern": {"k_proj": 33}},
            "a rank of at most 32 for model.layers",
        ),
    ],
    ids=str,
)
def test_what_the_model_does_not_have_is_refused_without_its_weights(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    config = LoraConfig(**given)
    assert config.names_modules
    with pytest.raises(ConfigError) as caught:
        config.make().attach(load.skeleton(tiny.folder(tmp_path)), adapter=None, base_name="b")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        ({"use_dora": True, "init": "pissa"}, "adapter.init"),
        ({"use_dora": True, "target_parameters": "all-experts"}, "adapter.target_parameters"),
        ({"init": "olora", "target_parameters": "all-experts"}, "adapter.target_parameters"),
        ({"layers_to_transform": [0], "target_parameters": "x"}, "adapter.target_parameters"),
        ({"init": "orthogonal", "rank": 3}, "adapter.rank"),
        ({"init": "orthogonal", "rank_pattern": {"q_proj": 5}}, "adapter.rank"),
        ({"target_modules": "(q_proj"}, "adapter.target_modules"),
        ({"exclude_modules": "*_proj"}, "adapter.exclude_modules"),
        ({"rank_pattern": {"[": 4}}, "adapter.rank_pattern"),
        ({"modules_to_save": ["q_proj"], "target_modules": ["q_proj"]}, "adapter.modules_to_save"),
    ],
    ids=str,
)
def test_what_excludes_each_other_is_refused_before_anything_is_loaded(
    given: dict[str, Any], setting: str
) -> None:
    ((path, _, fix),) = LoraConfig(**given).excludes(None)
    assert path == setting
    assert fix


def test_a_setting_without_effect_is_told() -> None:
    (told,) = LoraConfig(pissa_niter=4).advises(None)
    assert "adapter.pissa_niter has no effect with adapter.init=default" in told
