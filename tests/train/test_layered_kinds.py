"""VeRA and OFT: trained, written in PEFT's format, merged, resumed, and equal to plain PEFT."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import OFTConfig as PeftOFT
from peft import PeftModel, get_peft_model
from peft import VeraConfig as PeftVera
from tests.families import family
from tests.train import tiny
from tests.train.miniatures import miniature
from tests.train.test_conformance import plain, settings
from tests.train.test_lora_kinds import logits, stepped
from tests.train.test_resume import run_in_two
from tests.unit.test_generate import reference

from tunery.config.adapters.lora import LoraConfig
from tunery.config.adapters.oft import OFTConfig
from tunery.config.adapters.vera import VeraConfig
from tunery.decode.decoder import Decoder
from tunery.errors import ConfigError, ModelError
from tunery.export.merged import merge
from tunery.models import load
from tunery.models.attach import load_adapter
from tunery.shape import ModelShape
from tunery.train.loop import train
from tunery.train.state import final

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
VERA, OFT = {"type": "vera", "rank": 16}, {"type": "oft", "block_size": 16}
KINDS: list[dict[str, Any]] = [
    VERA,
    {**VERA, "initial_scale": 1.0, "exclude_modules": ["down_proj"], "layers_to_transform": [1]},
    {**VERA, "target_modules": r".*\.(q|v)_proj", "modules_to_save": ["norm"]},
    OFT,
    {**OFT, "block_share": True, "exclude_modules": ["o_proj"]},
    {**OFT, "use_cayley_neumann": False, "layers_to_transform": [0]},
    {**OFT, "coft": True, "coft_eps": 0.5, "modules_to_save": ["embed_tokens"]},
]


@pytest.mark.parametrize("given", KINDS, ids=str)
def test_what_was_trained_is_what_plain_peft_opens_and_what_is_merged(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    made = settings(adapter=given, evaluate={"every": "never"})
    place = tiny.context(tmp_path, made)
    before = tiny.model()
    shape = ModelShape.from_config_json(
        before.config.to_dict(), total_parameters=sum(p.numel() for p in before.parameters())
    )
    with place.events:
        job = tiny.build(place)
        assert job.optimizer.num_parameters == made.adapter.trained(shape)
        model = job.policy.model
        assert torch.equal(logits(model), logits(before))
        train(job)
        path = final.write(place.folder, job.adapter, model, job.data.tokenizer)
    trained = logits(model)
    assert (trained - logits(before)).abs().max() > 1e-3
    off = job.adapter.off(model)
    assert off is not None
    with off():
        assert torch.equal(logits(model), logits(before))

    beside = PeftModel.from_pretrained(tiny.model(), str(path))
    assert torch.equal(logits(beside), trained)
    merged = merge(load_adapter(tiny.model(), path))
    merged.save_pretrained(tmp_path / "merged")
    reopened = type(merged).from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(reopened), trained, rtol=0, atol=5e-6)


@pytest.mark.parametrize("given", [{**VERA, "dropout": 0.1}, OFT], ids=str)
@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "quantized"])
def test_it_resumes_to_the_bit(tmp_path: Path, given: dict[str, Any], quantized: bool) -> None:
    beside = {"quantization": {"type": "nf4"}} if quantized else {}
    made = settings(adapter=given, optim={"type": "adamw", "learning_rate": 1e-2}, **beside)
    parts: dict[str, Any] = {"data": plain(), "held_out": plain(6, seed=8)}
    assert tiny.run(tmp_path / "whole", made, **parts) == "finished"
    run_in_two(tmp_path / "cut", made, 2, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")


def attached(base: Any, config: Any) -> tuple[Any, Any]:
    adapter = config.make()
    return adapter, adapter.attach(copy.deepcopy(base), adapter=None, base_name="base")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            VeraConfig(rank=8, projection_seed=3, initial_scale=0.5),
            PeftVera(r=8, projection_prng_key=3, d_initial=0.5, target_modules="all-linear"),
        ),
        (OFTConfig(block_size=8), PeftOFT(oft_block_size=8, target_modules="all-linear")),
        (
            OFTConfig(block_size=8, coft=True, coft_eps=0.2, num_cayley_neumann_terms=3),
            PeftOFT(
                oft_block_size=8, coft=True, eps=0.2, num_cayley_neumann_terms=3,
                target_modules="all-linear",
            ),
        ),
    ],
    ids=["vera", "oft", "coft"],
)  # fmt: skip
def test_it_learns_what_pefts_own_learns(ours: Any, theirs: Any) -> None:
    base = tiny.model()
    _, model = attached(base, ours)
    stepped(model)
    expected = stepped(get_peft_model(copy.deepcopy(base), theirs))
    assert torch.equal(logits(model), logits(expected))
    assert (logits(model) - logits(base)).abs().max() > 1e-3


@pytest.mark.parametrize("config", [VeraConfig(rank=8), OFTConfig(block_size=8)], ids=str)
def test_a_run_that_goes_on_takes_the_shape_and_the_values(tmp_path: Path, config: Any) -> None:
    base = tiny.model()
    adapter, model = attached(base, config)
    stepped(model)
    adapter.write(model, family("chatml"), tmp_path)
    plain_settings = type(config)()
    assert plain_settings != config
    followed = plain_settings.continued(tmp_path / "adapter", ())
    assert followed == config
    again = followed.make().attach(
        copy.deepcopy(base), adapter=tmp_path / "adapter", base_name="base"
    )
    assert torch.equal(logits(again), logits(model))
    assert any(p.requires_grad for p in again.parameters())
    name = "rank" if config.type == "vera" else "block_size"
    with pytest.raises(ConfigError, match=f"adapter.{name} is .* which this run continues, has 8"):
        plain_settings.continued(tmp_path / "adapter", (name,))


def test_an_adapter_of_another_kind_is_not_continued(tmp_path: Path) -> None:
    adapter, model = attached(tiny.model(), OFTConfig(block_size=8))
    adapter.write(model, family("chatml"), tmp_path)
    with pytest.raises(
        ConfigError, match=r"adapter.type is lora, but .* is of the kind OFT"
    ) as told:
        LoraConfig().continued(tmp_path / "adapter", ())
    assert told.value.fix == "Set adapter.type to oft, or use the base model to start over."
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "peft_type": "BOFT"}))
    with pytest.raises(ConfigError, match="of the kind BOFT") as told:
        LoraConfig().continued(tmp_path / "adapter", ())
    assert "Merge it into a model first: tunery export" in told.value.fix


def test_two_kinds_are_not_loaded_onto_one_base(tmp_path: Path) -> None:
    for config in (OFTConfig(block_size=8), LoraConfig()):
        adapter, model = attached(tiny.model(), config)
        (tmp_path / config.type).mkdir()
        adapter.write(model, family("chatml"), tmp_path / config.type)
    first = load_adapter(tiny.model(), tmp_path / "oft" / "adapter", "one")
    load_adapter(first, tmp_path / "oft" / "adapter", "two")
    with pytest.raises(ModelError, match=r"of the kind LORA, and .* adapters of the kind OFT"):
        load_adapter(first, tmp_path / "lora" / "adapter", "three")


@pytest.mark.parametrize("config", [VeraConfig(rank=8), OFTConfig(block_size=8)], ids=str)
def test_a_live_model_answers_with_what_it_has_learned(config: Any) -> None:
    _, model = attached(tiny.model(), config)
    stepped(model).eval()
    found = Decoder(model).answer([[5, 9, 30]], stop_ids=(), max_tokens=8)
    assert [answer.ids for answer in found] == [reference(model, [5, 9, 30], [], 8)]


@pytest.mark.parametrize("config", [VeraConfig(rank=8), OFTConfig(block_size=8)], ids=str)
def test_a_model_in_bfloat16_is_written_as_it_was_trained(tmp_path: Path, config: Any) -> None:
    base = tiny.model(torch.bfloat16)
    adapter, model = attached(base, config)
    assert torch.equal(logits(model), logits(base))
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    stepped(model)
    adapter.write(model, family("chatml"), tmp_path)
    back = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "adapter"))
    assert torch.equal(logits(back), logits(model))


@pytest.mark.parametrize(
    ("config", "said", "fix"),
    [
        (OFTConfig(block_size=24), "is 24, which does not divide the 64 inputs", "16, 32"),
        (VeraConfig(target_modules=["qproj"]), "no module 'qproj'", "Did you mean q_proj"),
        (VeraConfig(layers_to_transform=[2]), "no decoder layer 2", "0 to 1"),
        (OFTConfig(exclude_modules=r".*"), "No linear layer", "Select more layers"),
        (OFTConfig(modules_to_save=["lmhead"]), "no module 'lmhead'", "lm_head?"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_without_its_weights(
    config: Any, said: str, fix: str, tmp_path: Path
) -> None:
    assert config.names_modules
    with pytest.raises(ConfigError) as caught:
        config.make().attach(load.skeleton(tiny.folder(tmp_path)), adapter=None, base_name="b")
    assert said in caught.value.message
    assert fix in caught.value.fix


def test_layers_with_transposed_weights_take_vera_but_not_oft() -> None:
    base = miniature("gpt2")
    _, model = attached(base, VeraConfig(rank=8))
    assert torch.equal(logits(model), logits(base))
    with pytest.raises(ConfigError, match="cannot rotate the inputs of c_attn"):
        attached(base, OFTConfig())


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        (VeraConfig(target_modules=[]), "adapter.target_modules"),
        (OFTConfig(target_modules="(q_proj"), "adapter.target_modules"),
        (OFTConfig(exclude_modules="*_proj"), "adapter.exclude_modules"),
        (VeraConfig(modules_to_save=["q_proj"], target_modules=["q_proj"]),
         "adapter.modules_to_save"),
    ],
)  # fmt: skip
def test_what_excludes_each_other_is_refused_before_anything_is_loaded(
    config: Any, setting: str
) -> None:
    ((path, _, fix),) = config.excludes(None)
    assert path == setting
    assert fix


def test_settings_without_effect_are_told() -> None:
    told = list(OFTConfig(coft_eps=0.1).advises(None))
    told += OFTConfig(num_cayley_neumann_terms=7, use_cayley_neumann=False).advises(None)
    assert told == [
        "adapter.coft_eps has no effect with adapter.coft false.",
        "adapter.num_cayley_neumann_terms has no effect with adapter.use_cayley_neumann false.",
    ]
