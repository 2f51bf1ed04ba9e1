"""DPO and KTO: TRL's numbers on the same batch, however it is divided, and runs that resume."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from tests.train import tiny
from tests.train.test_resume import run_in_two
from transformers import LlamaConfig, LlamaForCausalLM

from tunery.config.config import Config
from tunery.config.frozen import with_types
from tunery.data.collate import collate_groups
from tunery.data.groups import RowGroup, TokenRow
from tunery.data.rows import Rows
from tunery.methods.base import combine
from tunery.methods.dpo_losses import LOSSES, Pairs
from tunery.methods.kto import _mismatched
from tunery.methods.orpo import log_odds
from tunery.methods.pairs import Sides
from tunery.methods.transport import matched
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare

TRL = Path(__file__).parents[1] / "data" / "trl"
NUMBERS: dict[str, Any] = json.loads((TRL / "numbers.json").read_text())
DIVISIONS = {"whole": [[0, 1, 2, 3]], "halves": [[0, 1], [2, 3]], "alone": [[0], [1], [2], [3]]}


def row(prompt: list[int], answer: list[int]) -> TokenRow:
    ids = np.array([*prompt, *answer], dtype=np.int32)
    mask = np.arange(len(ids)) >= len(prompt)
    return TokenRow(ids, mask)


def pairs(*, prompt: int | None = None) -> list[RowGroup]:
    """TRL's pairs, with so many tokens of each prompt."""
    return [
        RowGroup((row(p[:prompt], good), row(p[:prompt], bad))) for p, good, bad in NUMBERS["pairs"]
    ]


def labelled() -> list[RowGroup]:
    return [
        RowGroup((row(p, answer),), {"label": float(label)})
        for p, answer, label in NUMBERS["labelled"]
    ]


def mismatched() -> list[RowGroup]:
    """TRL's pairing: each prompt with the answer before its own."""
    answers = [answer for _, answer, _ in NUMBERS["labelled"]]
    told = enumerate(NUMBERS["labelled"])
    return [RowGroup((row(p, answers[i - 1]),)) for i, (p, _, _) in told]


def policy() -> Policy:
    base: Any = LlamaForCausalLM(LlamaConfig(**NUMBERS["shape"]))
    base.load_state_dict(load_file(TRL / "base.safetensors"), strict=False)
    base.tie_weights()
    model: Any = get_peft_model(base, LoraConfig(**NUMBERS["lora"]))
    set_peft_model_state_dict(model, load_file(TRL / "lora.safetensors"))
    prepare(model)
    return Policy(model.train(), off=model.disable_adapter)


def method(**settings: Any) -> Any:
    return Config.model_validate(with_types({"method": settings})).method.make()


def learn(made: Any, groups: list[RowGroup], division: list[list[int]]) -> Any:
    """Loss, measures and gradients of one step over micro batches."""
    trained = policy()
    beside = [collate_groups(mismatched() if made.config.type == "kto" else groups)]
    if getattr(made.config, "loss_type", "") == "apo_zero_unpaired":
        beside = []
    with torch.no_grad():
        facts = made.before_step(trained, beside)
    units: dict[str, int] = {}
    for group in groups:
        for name, count in made.units(group).items():
            units[name] = units.get(name, 0) + count
    loss, sums = 0.0, {}
    for members in division:
        found = [groups[i] for i in members if i < len(groups)]
        if not found:
            continue
        part = made.loss(trained, collate_groups(found), facts)
        mean = combine(part.total, units)
        mean.backward()
        loss += float(mean.detach())
        for name, (total, count) in part.sums.items():
            before = sums.get(name, (0.0, 0.0))
            sums[name] = (before[0] + float(total), before[1] + float(count))
    gradients = {
        name.replace(".default", ""): p.grad
        for name, p in trained.model.named_parameters()
        if p.grad is not None
    }
    return loss, {name: total / count for name, (total, count) in sums.items()}, gradients


PAIRED = {
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "logps/chosen": "logprob_chosen",
    "logps/rejected": "logprob_rejected",
}
SHOWN = {
    "dpo": PAIRED,
    **{
        name: {theirs: ours for theirs, ours in PAIRED.items() if theirs.startswith("rewards")}
        for name in ("orpo", "simpo", "cpo")
    },
    "kto": {"rewards/chosen": "reward_desirable", "rewards/rejected": "reward_undesirable",
            "kl": "kl"},
}  # fmt: skip


FAMILY = [
    (name, i) for name in ("dpo", "kto", "orpo", "simpo", "cpo") for i in range(len(NUMBERS[name]))
]


@pytest.mark.parametrize("division", DIVISIONS.values(), ids=DIVISIONS.keys())
@pytest.mark.parametrize(("name", "case"), FAMILY)
def test_the_numbers_are_those_of_trl_however_the_batch_is_divided(
    name: str, case: int, division: list[list[int]]
) -> None:
    told = NUMBERS[name][case]
    settings = {key: told[key] for key in told if key not in ("loss", "metrics")}
    groups = labelled() if name == "kto" else pairs(prompt=1 if name == "orpo" else None)
    loss, measures, gradients = learn(method(type=name, **settings), groups, division)
    assert loss == pytest.approx(told["loss"], rel=1e-5, abs=1e-5)
    compared = {ours: told["metrics"][theirs] for theirs, ours in SHOWN[name].items()
                if theirs in told["metrics"]}  # fmt: skip
    if "ld_alpha" in settings:  # TRL weights the tokens of what it shows, too
        compared = {key: value for key, value in compared.items() if key[:4] != "logp"}
    assert len(compared) >= 3
    assert {key: measures[key] for key in compared} == pytest.approx(compared, abs=1e-5)
    expected = {
        key.removeprefix(f"{name}{case}/"): value
        for key, value in load_file(TRL / "gradients.safetensors").items()
        if key.startswith(f"{name}{case}/")
    }
    assert len(expected) >= 4
    assert expected.keys() <= gradients.keys()
    largest = max(1.0, *(float(gradient.abs().max()) for gradient in expected.values()))
    for key, gradient in expected.items():  # a processor's own rounding grows with the gradient
        assert torch.allclose(gradients[key], gradient, atol=1e-5 * largest, rtol=1e-5), key


def prefer(count: int = 12, *, seed: int = 5) -> Rows:
    """Pairs that can be learned: counting upwards is better than downwards."""
    generator = np.random.default_rng(seed)
    groups = []
    for _ in range(count):
        start = int(generator.integers(20, 60))
        prompt = [start, start + 1, start + 2]
        up = [start + 3 + i for i in range(int(generator.integers(2, 6)))]
        down = [start - 1 - i for i in range(int(generator.integers(2, 6)))]
        groups.append(RowGroup((row(prompt, up), row(prompt, down))))
    return Rows.of_groups(groups)


def judged(count: int = 16, *, seed: int = 6) -> Rows:
    groups = []
    for i, pair in enumerate(prefer(count, seed=seed).group(n) for n in range(count)):
        groups.append(RowGroup((pair.rows[i % 2],), {"label": float(i % 2 == 0)}))
    return Rows.of_groups(groups)


DIVISIBLE = [
    {"loss_type": ["aot", "sft"]},
    {"loss_type": ["aot_unpaired"], "label_smoothing": 0.1},
    {"loss_type": ["hinge"], "use_weighting": True, "ld_alpha": 0.5},
]


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("case", range(len(DIVISIBLE)))
def test_losses_of_a_whole_step_resume_to_the_bit(tmp_path: Path, case: int, adapter: str) -> None:
    settings = tiny.config(
        method={"type": "dpo", **DIVISIBLE[case]},
        adapter={"type": adapter},
        train={"batch_size": 4, "max_steps": 4, "num_epochs": 9, "micro_batch_tokens": 40,
               "num_threads": 1},
        evaluate={"every": 2},
    )  # fmt: skip
    parts: dict[str, Any] = {"data": prefer(), "held_out": prefer(6, seed=9)}
    assert tiny.run(tmp_path / "whole", settings, **parts) == "finished"
    run_in_two(tmp_path / "cut", settings, 2, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    assert tiny.history(tmp_path / "cut") == tiny.history(tmp_path / "whole")


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [0.0, 50.0, 5000.0])
def test_a_loss_is_finite_for_answers_that_are_all_but_impossible(name: Any, size: float) -> None:
    config = method(type="dpo", loss_type=[name], label_smoothing=0.1).config
    ends = torch.tensor([size, -size, 0.0])
    ratio = Sides(ends.clone().requires_grad_(), ends.flip(0).clone().requires_grad_())
    found = LOSSES[name](Pairs(ratio, Sides(torch.ones(3), torch.full((3,), 7.0)), config))
    if name == "discopop" and size == 5000.0:  # exp(-margin) by its definition
        return
    found.sum().backward()
    for value in (found, ratio.chosen_G.grad, ratio.rejected_G.grad):
        assert value is not None
        assert torch.isfinite(value).all()


def test_a_rank_is_found_also_where_rounding_moved_the_value() -> None:
    own, other = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0])
    moved = torch.tensor([1.0 + 1e-5, 2.0 - 1e-5, 3.0 + 1e-5, 2.0, 1.0 - 1e-5])
    assert matched(moved, own, other).tolist() == [10.0, 20.0, 30.0, 20.0, 10.0]


def test_odds_are_exact_near_certainty_and_near_impossibility() -> None:
    for p in (1e-30, 1e-3, 0.5, 1 - 1e-6):
        found = log_odds(torch.tensor([math.log(p)], dtype=torch.float64))
        assert float(found) == pytest.approx(math.log(p) - math.log1p(-p), rel=1e-9)
    certain = torch.zeros(1, requires_grad=True)
    log_odds(certain).sum().backward()
    assert torch.isfinite(log_odds(certain)).all()


def test_a_constant_of_a_loss_that_is_not_chosen_is_told() -> None:
    unused = {"discopop_tau": 0.1, "f_alpha_divergence_coef": 0.3}
    kind = Config.model_validate(with_types({"method": {"type": "dpo", **unused}})).method
    assert [str(said).split(" has no effect")[0] for said in kind.advises(None)] == [
        "method.discopop_tau", "method.f_alpha_divergence_coef",
    ]  # fmt: skip
    used = {**unused, "loss_type": ["discopop"], "f_divergence_type": "alpha_divergence"}
    kind = Config.model_validate(with_types({"method": {"type": "dpo", **used}})).method
    assert list(kind.advises(None)) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "has 1 value"),
        ({"loss_type": ["aot"], "f_divergence_type": "forward_kl"}, "no effect on these losses"),
        ({"loss_type": ["hinge"], "label_smoothing": 0.1}, "no effect with method.loss_type"),
        ({"loss_type": ["exo_pair"]}, "needs method.label_smoothing"),
        ({"loss_type": ["aot"], "use_weighting": True}, "single pairs"),
        ({"loss_type": ["sft"]}, "nothing from the rejected"),
        ({"type": "cpo", "loss_type": "ipo", "label_smoothing": 0.1}, "no effect with method"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], said: str
) -> None:
    kind = Config.model_validate(with_types({"method": {"type": "dpo", **settings}})).method
    (found,) = kind.excludes(None)
    assert said in found[1]
    assert "Set method" in found[2] or "method.loss" in found[2]


DATA = {**dict.fromkeys(("dpo", "orpo", "simpo", "cpo"), prefer), "kto": judged}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("name", DATA)
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path, name: str, adapter: str, dtype: torch.dtype
) -> None:
    settings = tiny.config(
        method={"type": name},
        adapter={"type": adapter, **({"rank": 4, "dropout": 0.1} if adapter == "lora" else {})},
        optim={"learning_rate": 1e-3},
        train={"batch_size": 4, "max_steps": 6, "num_epochs": 9, "micro_batch_tokens": 40,
               "num_threads": 1},
        evaluate={"every": 3},
    )  # fmt: skip
    parts = {"data": DATA[name](), "held_out": DATA[name](6, seed=9), "dtype": dtype}
    assert tiny.run(tmp_path / "whole", settings, **parts) == "finished"
    run_in_two(tmp_path / "cut", settings, 3, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    assert tiny.history(tmp_path / "cut") == tiny.history(tmp_path / "whole")


@pytest.mark.parametrize("name", DATA)
def test_what_is_preferred_is_learned_and_told(tmp_path: Path, name: str) -> None:
    settings = tiny.config(
        method={"type": name},
        adapter={"type": "lora", "rank": 4},
        optim={"learning_rate": 2e-2},
        train={"batch_size": 4, "num_epochs": 12, "micro_batch_tokens": 200, "num_threads": 1},
        evaluate={"every": "epoch"},
    )
    tiny.run(tmp_path, settings, data=DATA[name](24), held_out=DATA[name](8, seed=9))
    plan = tiny.events(tmp_path, "plan")[0]
    declared = {measure["name"] for measure in plan["measures"]}
    steps, evals = tiny.events(tmp_path, "step"), tiny.events(tmp_path, "eval")
    assert {"loss", *steps[-1]["measures"]} == declared
    assert {"loss", *evals[-1]["measures"]} == declared
    assert evals[-1]["loss"] < evals[0]["loss"]
    told = evals[-1]["measures"]
    if name == "dpo":
        assert told["reward_accuracy"] > 0.8  # of 8 pairs; the last bits are the processor's
    elif name != "kto":  # without a reference shorter answers stay likelier
        assert told["reward_margin"] > evals[0]["measures"]["reward_margin"] + 0.01
    else:
        assert told["reward_desirable"] > told["reward_undesirable"]


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_a_kept_reference_gives_the_numbers_of_a_live_one(tmp_path: Path, name: str) -> None:
    """An adapter that can be taken off, and one that the engine is told cannot."""
    settings = tiny.config(
        method={"type": name}, adapter={"type": "lora", "rank": 4},
        train={"batch_size": 4, "max_steps": 4, "micro_batch_tokens": 40, "num_threads": 1},
    )  # fmt: skip
    tiny.run(tmp_path / "live", settings, data=DATA[name]())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunery.adapters.lora.Lora.off", lambda self, model: None)
        tiny.run(tmp_path / "kept", settings, data=DATA[name]())
    assert (tmp_path / "kept" / "reference-train.safetensors").exists()
    assert not list((tmp_path / "live").glob("reference-*"))
    losses = [[e["loss"] for e in tiny.events(tmp_path / n, "step")] for n in ("live", "kept")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_mismatched_answers_keep_to_max_length_and_come_from_other_prompts() -> None:
    long, short = list(range(20, 50)), [60, 61]
    answers = [[70, 71, 72], list(range(30, 55))]
    groups = [
        RowGroup((row(p, a),), {"label": 1.0}) for p, a in zip((long, short), answers, strict=True)
    ]
    made, unmatched = _mismatched(Rows.of_groups(groups), max_length=34)
    assert unmatched == 0
    assert [made.group(i).num_tokens for i in (0, 1)] == [34, 5]
    first = made.group(0).rows[0]
    assert first.input_ids.tolist() == [*long[-9:], *answers[1]]
    assert first.num_trained == len(answers[1])
    same = [RowGroup((row(short, a),), {"label": 1.0}) for a in answers]
    assert _mismatched(Rows.of_groups(same), max_length=99)[1] == 2
