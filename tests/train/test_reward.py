"""Reward models: TRL's numbers on the same batch, and results that plain libraries load."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from tests.train import tiny
from tests.train.test_preferences import DIVISIONS, NUMBERS, TRL, method, pairs, row
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from tunery.adapters.lora import Lora
from tunery.data.collate import collate_groups
from tunery.data.groups import RowGroup
from tunery.data.rows import Rows
from tunery.errors import ConfigError
from tunery.methods.base import combine
from tunery.models.linear import left_out
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare, shortcuts
from tunery.quantization.base import LinearQuantizer

CASES: list[dict[str, Any]] = json.loads((TRL / "reward.json").read_text())
HEAD = load_file(TRL / "reward.safetensors")["score"]


def scorer(adapter: str) -> Policy:
    """TRL's model and head."""
    base: Any = LlamaForSequenceClassification(
        LlamaConfig(**NUMBERS["shape"], num_labels=1, pad_token_id=0)  # pyright: ignore
    )
    base.load_state_dict(load_file(TRL / "base.safetensors"), strict=False)
    with torch.no_grad():
        base.score.weight.copy_(HEAD)
    model: Any = base
    if adapter == "lora":
        lora = {**NUMBERS["lora"], "task_type": "SEQ_CLS", "modules_to_save": ["score"]}
        model = get_peft_model(base, LoraConfig(**lora))
        own = {"base_model.model.score.weight": HEAD, **load_file(TRL / "lora.safetensors")}
        set_peft_model_state_dict(model, own)
    prepare(model)
    assert shortcuts(model).packed
    return Policy(model.train())


@pytest.mark.parametrize("division", DIVISIONS.values(), ids=DIVISIONS.keys())
@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_numbers_are_those_of_trl_however_the_batch_is_divided(
    case: int, division: list[list[int]]
) -> None:
    told = CASES[case]
    settings = {k: told[k] for k in told if k == "center_rewards_coefficient"}
    margins = told["margins"] or [None] * 3
    groups = [
        RowGroup(group.rows, {} if margin is None else {"margin": margin})
        for group, margin in zip(pairs(), margins, strict=True)
    ]
    made, policy = method(type="reward", **settings), scorer(told["adapter"])
    loss, sums = 0.0, np.zeros(4)
    for members in division:
        found = [groups[i] for i in members if i < len(groups)]
        if found:
            part = made.loss(policy, collate_groups(found, trim=False), {})
            mean = combine(part.total, {"pairs": len(groups)})
            mean.backward()
            loss += float(mean.detach())
            sums += [float(total) / len(groups) for total, _ in part.sums.values()]
    accuracy, margin, chosen, rejected = sums
    assert loss == pytest.approx(told["loss"], abs=1e-5)
    metrics = told["metrics"]
    assert accuracy == pytest.approx(metrics["accuracy"], abs=1e-5)
    assert margin == pytest.approx(metrics["margin"], abs=1e-5)
    assert (chosen + rejected) / 2 == pytest.approx(metrics["mean_reward"], abs=1e-5)
    own = {
        name.replace(".default", ""): param.grad
        for name, param in policy.model.named_parameters()
        if param.grad is not None
    }
    expected = {
        key.removeprefix(f"{case}/"): value
        for key, value in load_file(TRL / "reward.safetensors").items()
        if key.startswith(f"{case}/")
    }
    assert any("score" in key for key in expected)
    assert expected.keys() <= own.keys()
    for key, gradient in expected.items():
        assert torch.allclose(own[key], gradient, atol=1e-5, rtol=1e-5), key


def test_pairs_without_a_margin_among_pairs_with_one_have_none() -> None:
    groups = pairs()
    some = [RowGroup(groups[0].rows, {"margin": 0.5}), *groups[1:]]
    zero = [RowGroup(group.rows, {"margin": 0.0 if i else 0.5}) for i, group in enumerate(groups)]
    made, policy = method(type="reward"), scorer("full")
    losses = [made.loss(policy, collate_groups(g, trim=False), {}).each for g in (some, zero)]
    assert torch.equal(*losses)


def test_a_score_is_read_where_transformers_reads_it() -> None:
    """At the last token that is not the padding token; also in a row that ends with it."""
    policy = scorer("full")
    rows = [row([5, 6], [7, 8]), row([5, 6], [9, 0]), row([5], [0, 0])]
    kept = Rows.of(rows).whole(unlike=policy.pad_id)
    batch = collate_groups([kept.group(i) for i in range(3)], trim=kept.trim)
    assert [len(each) for each in batch.places] == [4, 3, 1]
    with torch.no_grad():
        found = policy.scores(batch)
        own = [policy.model(torch.from_numpy(r.input_ids[None]).long()).logits[0, 0] for r in rows]
    assert torch.allclose(found, torch.stack(own), atol=1e-6)


def graded(count: int, *, seed: int) -> Rows:
    """Pairs that can be learned: low numbers are better than high ones."""
    generator = np.random.default_rng(seed)

    def answer(low: int) -> list[int]:
        return generator.integers(low, low + 20, int(generator.integers(2, 6))).tolist()

    return Rows.of_groups(
        [
            RowGroup((row(start, answer(20)), row(start, answer(60))))
            for start in generator.integers(40, 60, (count, 3)).tolist()
        ]
    )


def trained(path: Path, adapter: str) -> tuple[Path, Any]:
    made = {"type": adapter, **({"rank": 4} if adapter == "lora" else {})}
    settings = tiny.config(
        method={"type": "reward"},
        adapter=made,
        optim={"learning_rate": 1e-2 if adapter == "lora" else 2e-3},
        train={"batch_size": 4, "num_epochs": 4, "micro_batch_tokens": 200, "num_threads": 1},
        evaluate={"every": "epoch"},
    )
    place = tiny.context(path, settings)
    with place.events:
        job = tiny.build(place, data=graded(24, seed=5), held_out=graded(8, seed=9))
        job.measure.before(job.state)
        tiny.train(job)
        folder = tiny.final.write(place.folder, job.adapter, job.policy.model, job.data.tokenizer)
    return folder, job.policy.model.eval()


@pytest.mark.parametrize("adapter", ["lora", "full", "freeze"])
def test_a_reward_model_learns_and_plain_libraries_load_it(tmp_path: Path, adapter: str) -> None:
    folder, model = trained(tmp_path, adapter)
    first, *_, last = tiny.events(tmp_path, "eval")
    assert last["measures"]["reward_accuracy"] > max(0.9, first["measures"]["reward_accuracy"])
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected = model(ids).logits
        if adapter == "lora":
            said = json.loads((folder / "adapter_config.json").read_text())
            assert said["task_type"] == "SEQ_CLS"
            assert said["modules_to_save"] == ["score"]
            base = tmp_path / "base"
            tiny.model().save_pretrained(base)
            plain: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
            plain = PeftModel.from_pretrained(plain, str(folder)).eval()
        else:
            said = json.loads((folder / "config.json").read_text())
            assert said["architectures"] == ["LlamaForSequenceClassification"]
            plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        assert plain.config.num_labels == 1
        assert torch.allclose(plain(ids).logits, expected, atol=1e-6)
        assert expected.abs() > 1e-3


@pytest.mark.parametrize(
    "choice", [{"exclude_modules": ".*k_proj"}, {"target_modules": ".*"}], ids=["all", "pattern"]
)
def test_a_new_head_carries_no_low_rank_term(choice: dict[str, Any]) -> None:
    """It is trained in full."""
    model = tiny.model(produces="scores")
    config = tiny.config(adapter={"type": "lora", **choice}).adapter
    made = Lora(config).settings(model, left_out(model))  # type: ignore[arg-type]
    assert "score" not in (made.target_modules or ())
    assert made.modules_to_save == ["score"]


def test_a_choice_without_layers_is_refused_with_a_new_head_too() -> None:
    model = tiny.model(produces="scores")
    chosen = {"target_modules": ["k_proj"], "exclude_modules": ["k_proj"]}
    config = tiny.config(adapter={"type": "lora", **chosen}).adapter
    with pytest.raises(ConfigError, match="No linear layer"):
        Lora(config).settings(model, left_out(model))  # type: ignore[arg-type]


def test_a_new_head_is_not_quantized() -> None:
    class Quantizer(LinearQuantizer):
        pass

    model = tiny.model(produces="scores")
    quantizer = Quantizer(SimpleNamespace(skip_modules=[]))  # type: ignore[arg-type]
    assert "score" in quantizer._kept(model)
