"""SFT's losses: other implementations' numbers on the same batch, however it is divided."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tests.train import tiny
from tests.train.test_preferences import NUMBERS, TRL, row
from tests.train.test_preferences import policy as trl_policy
from tests.train.test_resume import run_in_two
from torch import Tensor
from transformers.trainer_pt_utils import LabelSmoother

from tunery.config.config import Config
from tunery.config.frozen import with_types
from tunery.data.collate import collate_groups
from tunery.data.groups import RowGroup, TokenRow
from tunery.data.rows import Rows
from tunery.errors import ConfigError
from tunery.methods.base import combine
from tunery.methods.sft_losses import LOSSES
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare
from tunery.policy.tokens import Tokens, Wanted, values
from tunery.train.measure.replay import as_rows

DIVISIONS = {"whole": [[0, 1, 2, 3]], "halves": [[0, 1], [2, 3]], "alone": [[0], [1], [2], [3]]}
CASES: dict[str, dict[str, Any]] = {
    "cross_entropy": {},
    "smoothed": {"label_smoothing": 0.15},
    "dft": {"loss": "dft"},
    "focal": {"loss": "focal", "focal_gamma": 1.5},
    "eaft": {"loss": "eaft", "eaft_alpha": 0.7, "eaft_top_k": 9},
    "asft": {"loss": "asft", "asft_alpha": 0.4},
}
RUNS = {
    **CASES,
    "noise": {"neftune_alpha": 5.0},
    "noise_dft": {"neftune_alpha": 5.0, "loss": "dft"},
    "replay": {"replay_loss": "kl_divergence"},
}


def config(**method: Any) -> Any:
    return Config.model_validate(with_types({"method": {"type": "sft", **method}})).method


def groups(**facts: list[float]) -> list[RowGroup]:
    """Rows that the model itself would write, so that some of their tokens are likely."""
    return [
        RowGroup((each,), {name: values[i] for name, values in facts.items()})
        for i, each in enumerate(sampled())
    ]


@functools.cache
def sampled() -> list[TokenRow]:
    model, rows = adapted().eval(), []
    torch.manual_seed(5)
    for length in (9, 14, 6, 19):
        ids = torch.randint(2, tiny.VOCAB, (1, 3))
        with torch.no_grad():
            for _ in range(length):
                chance = (model(input_ids=ids).logits[0, -1] / 1.5).softmax(-1)
                ids = torch.cat([ids, torch.multinomial(chance, 1)[None]], dim=1)
        mask = np.arange(ids.shape[1]) >= 3
        rows.append(TokenRow(ids[0].numpy().astype(np.int32), mask))
    return rows


def adapted() -> Any:
    """A model of transformers with an adapter of PEFT that is not zero."""
    base = tiny.model()
    torch.manual_seed(3)
    with torch.no_grad():
        base.model.embed_tokens.weight.mul_(10)
    model: Any = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.3)
    return model.train()


def policy() -> Policy:
    model = adapted()
    prepare(model)
    return Policy(model, off=model.disable_adapter)


def learn(made: Any, rows: list[RowGroup], division: list[list[int]]) -> tuple[float, Any, Any]:
    """Objective, told loss and gradients of one step over micro batches."""
    trained = policy()
    units: dict[str, int] = {}
    for group in rows:
        for name, count in made.units(group).items():
            units[name] = units.get(name, 0) + count
    total, told = 0.0, [0.0, 0.0]
    for members in division:
        part = made.loss(trained, collate_groups([rows[i] for i in members], members), {})
        mean = combine(part.total, units)
        mean.backward()
        total += float(mean.detach())
        if "loss" in part.sums:
            told = [a + float(b) for a, b in zip(told, part.sums["loss"], strict=True)]
    gradients = {n: p.grad for n, p in trained.model.named_parameters() if p.grad is not None}
    return total, told[0] / told[1] if told[1] else total, gradients


def logits(model: Any, row: Any) -> tuple[Tensor, Tensor]:
    """The model's own logits at the trained tokens and these tokens, from a pass of one row."""
    ids = torch.tensor(row.input_ids, dtype=torch.long)
    mask = torch.tensor(row.loss_mask[1:])
    return model(input_ids=ids[None]).logits[0, :-1][mask], ids[1:][mask]


def written_out(rows: list[RowGroup], each: Any) -> tuple[float, Any]:
    """Mean over all trained tokens of a loss of (logits, targets, logits before), in fp64."""
    model = adapted().double()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for group in rows:
        (row,) = group.rows
        with torch.no_grad(), model.disable_adapter():
            before, _ = logits(model, row)
        own, targets = logits(model, row)
        total = total + each(own, targets, before)
        count += len(targets)
    (total / count).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return float(total.detach() / count), gradients


def reference(settings: dict[str, Any]) -> Any:
    """The loss with these settings as a plain formula of probabilities."""

    def each(own: Tensor, targets: Tensor, before: Tensor) -> Tensor:
        p = own.softmax(-1)
        chance = p[torch.arange(len(targets)), targets]
        nll = -chance.log()
        match settings.get("loss", "cross_entropy"):
            case "dft":
                nll = chance.detach() * nll
            case "focal":
                nll = (1 - chance) ** settings["focal_gamma"] * nll
            case "eaft":
                top = p.detach().sort(-1, descending=True).values[:, : settings["eaft_top_k"]]
                top = top / top.sum(-1, keepdim=True)
                entropy = -(top * top.log()).sum(-1) / math.log(settings["eaft_top_k"])
                nll = entropy ** settings["eaft_alpha"] * nll
            case "asft":
                q = before.softmax(-1)
                kl = (q * (q / p).log()).sum(-1)
                nll = chance.detach() * nll + settings["asft_alpha"] * kl
            case _:
                share = settings.get("label_smoothing", 0.0)
                nll = (1 - share) * nll - share * p.log().mean(-1)
        return nll.sum()

    return each


@pytest.mark.parametrize("division", DIVISIONS.values(), ids=DIVISIONS.keys())
@pytest.mark.parametrize("case", CASES)
def test_a_loss_equals_its_formula_in_fp64_however_the_batch_is_divided(
    case: str, division: list[list[int]]
) -> None:
    made = config(**CASES[case]).make()
    objective, told, gradients = learn(made, groups(), division)
    expected, exact = written_out(groups(), reference(CASES[case]))
    plain, _ = written_out(groups(), reference({}))
    assert objective == pytest.approx(expected, abs=1e-5)
    assert told == pytest.approx(plain, abs=1e-5)
    if case != "cross_entropy":
        assert abs(objective - plain) > 1e-2
    assert gradients.keys() == exact.keys()
    assert max(float(value.abs().max()) for value in exact.values()) > 1e-3
    for name, gradient in gradients.items():
        assert torch.allclose(gradient.double(), exact[name], atol=1e-5, rtol=1e-4), name


def test_dft_equals_trl() -> None:
    trained = trl_policy()
    rows = [RowGroup((row(p, answer),)) for p, answer, _ in NUMBERS["labelled"]]
    made = config(loss="dft").make()
    part = made.loss(trained, collate_groups(rows), {})
    mean = combine(part.total, {"tokens": sum(group.num_trained for group in rows)})
    mean.backward()
    told = json.loads((TRL / "sft.json").read_text())
    assert float(mean.detach()) == pytest.approx(told["dft"], abs=1e-5)
    gradients = {
        n.replace(".default", ""): p.grad
        for n, p in trained.model.named_parameters()
        if p.grad is not None
    }
    expected = load_file(TRL / "sft.safetensors")
    assert expected.keys() == gradients.keys()
    for name, gradient in expected.items():
        assert torch.allclose(gradients[name], gradient, atol=1e-5, rtol=1e-5), name


def test_label_smoothing_equals_that_of_transformers() -> None:
    trained, rows = policy(), groups()
    made = config(label_smoothing=0.15).make()
    part = made.loss(trained, collate_groups(rows), {})
    found = combine(part.total, {"tokens": sum(group.num_trained for group in rows)})
    with torch.no_grad():
        told = [logits(trained.model, group.rows[0]) for group in rows]
    whole, targets = torch.cat([own for own, _ in told]), torch.cat([ids for _, ids in told])
    expected = LabelSmoother(epsilon=0.15)({"logits": whole[None]}, targets[None])
    assert float(found.detach()) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_held_out_rows_are_measured_by_their_cross_entropy(case: str) -> None:
    trained, batch = policy(), collate_groups(groups())
    trained.model.eval()
    with torch.inference_mode():
        found = config(**CASES[case]).make().loss(trained, batch, {})
        plain = config().make().loss(trained, batch, {})
    assert found.total["tokens"] == plain.total["tokens"]
    assert found.each is not None
    assert plain.each is not None
    assert torch.equal(found.each, plain.each)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_finite_for_certain_and_impossible_tokens(name: Any) -> None:
    made = config(loss=name, focal_gamma=0.5)
    for size in (0.0, 100.0, 1e4):
        logits_CV = torch.zeros(2, 8)
        logits_CV[:, 3] = size
        logits_CV.requires_grad_()
        found = values(
            logits_CV, torch.tensor([3, 4]), torch.zeros(2, 8),
            Wanted(uniform=True, top_k=4, kl=True),
        )  # fmt: skip
        loss_K = LOSSES[name](Tokens(*found), made)
        loss_K.sum().backward()
        assert logits_CV.grad is not None
        assert torch.isfinite(loss_K).all()
        assert torch.isfinite(logits_CV.grad).all()


@pytest.mark.parametrize("case", RUNS)
def test_a_run_resumes_to_the_bit_and_tells_what_it_declares(tmp_path: Path, case: str) -> None:
    settings = tiny.config(
        method={"type": "sft", **RUNS[case]},
        adapter={"type": "lora", "rank": 4, "dropout": 0.1},
        train={"batch_size": 4, "max_steps": 4, "num_epochs": 9, "micro_batch_tokens": 60,
               "num_threads": 1},
        evaluate={"every": 2},
    )  # fmt: skip
    data = Rows.of(tiny.rows(9, seed=3)).and_then(as_rows(tiny.rows(3, seed=4)))
    parts: dict[str, Any] = {"data": data, "held_out": tiny.rows(4, seed=9)}
    assert tiny.run(tmp_path / "whole", settings, **parts) == "finished"
    run_in_two(tmp_path / "cut", settings, 2, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    assert tiny.history(tmp_path / "cut") == tiny.history(tmp_path / "whole")
    (plan,) = tiny.events(tmp_path / "whole", "plan")
    declared = {measure["name"] for measure in plan["measures"]}
    assert declared == ({"loss"} if case in ("cross_entropy", "noise") else {"loss", "objective"})
    for event in tiny.events(tmp_path / "whole", "step"):
        assert {"loss", *event.get("measures", {})} == declared


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "dft", "label_smoothing": 0.1}, "no effect with method.loss=dft"),
        ({"loss": "asft"}, "overwritten with adapter.type=full"),
        ({"source_weights": {"a": -1.0}}, "must be above 0"),
        ({"source_weights": {"a": 0.0}}, "must be above 0"),
        ({"source_weights": {"a": 1e30}}, "must be above 0"),
        ({"source_weights": {"b": 0.5}}, "b is not in data.train"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], said: str
) -> None:
    whole = Config.model_validate(
        with_types({"method": {"type": "sft", **settings}, "adapter": {"type": "full"},
                    "data": {"train": ["a*2"]}})
    )  # fmt: skip
    (found,) = whole.method.excludes(whole)
    assert said in found[1]
    assert found[2].startswith(("Set ", "Use "))


def test_a_constant_of_a_loss_that_is_not_chosen_is_told() -> None:
    given = {"focal_gamma": 1.0, "eaft_alpha": 2.0, "eaft_top_k": 5, "asft_alpha": 0.2}
    assert len(list(config(**given).advises(None))) == 4
    assert len(list(config(loss="eaft", **given).advises(None))) == 2


def test_noise_has_the_scale_of_neftune_in_every_row_however_it_is_packed() -> None:
    model: Any = adapted()
    base = model.get_base_model()
    seen: list[Tensor] = []
    hook = base.model.layers[0].register_forward_pre_hook(
        lambda module, args: seen.append(args[0].detach()[0])
    )
    rows, alpha = groups(), 7.0
    whole = collate_groups(rows, [5, 6, 7, 8], trim=False)
    prepare(model)
    trained = Policy(model, off=model.disable_adapter)
    seen.clear()
    torch.manual_seed(21)
    trained.nll(whole)
    (clean,) = seen
    seen.clear()
    trained.nll(dataclasses.replace(whole, noise=alpha))
    noise = seen.pop() - clean
    for number, places in enumerate(whole.places):
        own = noise[torch.from_numpy(places)]
        most = alpha / math.sqrt(own.numel())  # transformers: neftune_post_forward_hook
        assert float(own.abs().max()) <= most
        assert float(own.abs().max()) > 0.98 * most
        assert float(own.std()) == pytest.approx(most / math.sqrt(3), rel=0.1)
        torch.rand(3)  # other draws do not matter, and neither do the other rows
        alone = collate_groups(rows[number : number + 1], [5 + number], trim=False)
        trained.nll(dataclasses.replace(alone, noise=alpha))
        expected = clean[torch.from_numpy(places)] + own
        assert torch.allclose(seen.pop(), expected, atol=1e-6)
    torch.manual_seed(22)
    trained.nll(dataclasses.replace(whole, noise=alpha))
    assert not torch.allclose(seen.pop() - clean, noise, atol=1e-3)
    trained.nll(whole)
    assert torch.equal(seen.pop(), clean)
    hook.remove()


WEIGHTS = [0.5, 2.0, 0.0, 1.0]


@pytest.mark.parametrize("division", DIVISIONS.values(), ids=DIVISIONS.keys())
@pytest.mark.parametrize("case", ["cross_entropy", "dft", "smoothed"])
def test_rows_count_by_their_weight(case: str, division: list[list[int]]) -> None:
    rows = groups(weight=WEIGHTS)
    made = config(**CASES[case]).make()
    objective, _, gradients = learn(made, rows, division)
    formula, weights = reference(CASES[case]), iter(WEIGHTS)
    expected, exact = written_out(rows, lambda *told: next(weights) * formula(*told))
    assert objective == pytest.approx(expected, abs=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient.double(), exact[name], atol=1e-5, rtol=1e-4), name


@pytest.mark.parametrize("division", DIVISIONS.values(), ids=DIVISIONS.keys())
@pytest.mark.parametrize("how", ["kl_divergence", "both"])
def test_replay_rows_are_kept_close_to_the_model_before_training(
    how: Any, division: list[list[int]]
) -> None:
    rows = groups()
    rows[1] = RowGroup(rows[1].rows, {"replay": 1.0})
    rows[2] = RowGroup(rows[2].rows, {"replay": 1.0})
    made = config(replay_loss=how, replay_kl_weight=0.6).make()
    objective, told, gradients = learn(made, rows, division)
    nll, kl = reference({}), reference({"loss": "asft", "asft_alpha": 1.0})
    dft = reference({"loss": "dft"})
    kept = sum(group.num_trained for group in rows[1:3])
    own = sum(group.num_trained for group in rows) - (kept if how == "kl_divergence" else 0)
    total = sum(group.num_trained for group in rows)
    numbers = iter(range(4))

    def each(*said: Tensor) -> Tensor:
        replayed = next(numbers) in (1, 2)
        plain = nll(*said) / own * (0.0 if replayed and how == "kl_divergence" else 1.0)
        return total * (plain + (0.6 * (kl(*said) - dft(*said)) / kept if replayed else 0.0))

    expected, exact = written_out(rows, each)
    assert objective == pytest.approx(expected, abs=1e-5)
    assert told == pytest.approx(written_out(rows, nll)[0], abs=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient.double(), exact[name], atol=1e-5, rtol=1e-4), name


def test_a_dataset_has_a_weight_that_multiplies_those_of_its_rows(tmp_path: Path) -> None:
    own = Rows.of_groups(groups(weight=WEIGHTS), name="own")
    rows = own.and_then(Rows.of_groups(groups(), name="other"))
    settings = tiny.config(method={"type": "sft", "source_weights": {"own": 0.5, "third": 9.0}})
    place = tiny.context(tmp_path, settings)
    with place.events:
        made = settings.method.make().prepare(policy(), rows, place, name="train")
        found = [made.group(i).facts["weight"] for i in range(len(made))]
        assert found == [0.25, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
        held_out = settings.method.make().prepare(policy(), own, place, name="held_out")
        assert [held_out.group(i).facts["weight"] for i in range(4)] == WEIGHTS


def test_a_run_that_continues_an_adapter_cannot_compare_with_what_was_before() -> None:
    config(loss="dft").check_continued()
    for settings, name in (
        ({"loss": "asft"}, "method.loss=asft"),
        ({"replay_loss": "both"}, "method.replay_loss=both"),
    ):
        with pytest.raises(ConfigError, match=f"{name} needs the model before training") as told:
            config(**settings).check_continued()
        assert "--to merged" in str(told.value.fix)
