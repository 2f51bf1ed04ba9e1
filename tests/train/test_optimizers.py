"""What is particular to one optimizer; what all of them guarantee is in test_conformance.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.train import tiny
from tests.train.test_agreement import run_in_process
from torch import nn

from tunery.config.config import Config
from tunery.config.frozen import with_types
from tunery.config.load import from_tokens
from tunery.errors import ConfigError
from tunery.optimizers.base import ParamGroup
from tunery.optimizers.groups import param_groups
from tunery.services.runs import plan, prepare


def optim(**values: Any) -> Any:
    return Config.model_validate(with_types({"optim": {"max_grad_norm": 0, **values}})).optim


def steps(optimizer: Any, params: dict[str, nn.Parameter], count: int, rate: float = 1e-2) -> None:
    """Steps with the same random gradients for every optimizer."""
    for step in range(count):
        torch.manual_seed(step)
        optimizer.zero()
        for param in params.values():
            gradient = torch.randn(param.shape)
            if param.requires_grad:
                (param * gradient).sum().backward()
        optimizer.step(rate, 1.0)


def weights(*shapes: tuple[int, ...], names: tuple[str, ...] = ()) -> dict[str, nn.Parameter]:
    torch.manual_seed(1)
    named = names or tuple(f"w{at}" for at in range(len(shapes)))
    return {n: nn.Parameter(torch.randn(s)) for n, s in zip(named, shapes, strict=True)}


def group(params: dict[str, nn.Parameter]) -> list[ParamGroup]:
    return [ParamGroup(list(params.items()))]


def trained(config: Any, params: dict[str, nn.Parameter], count: int) -> dict[str, torch.Tensor]:
    steps(config.make(group(params)), params, count)
    return {name: param.detach().clone() for name, param in params.items()}


@pytest.mark.parametrize("name", ["adamw_8bit", "lion_8bit", "ademamix_8bit"])
def test_eight_bits_are_close_to_thirty_two(name: str):
    shape = (64, 96)  # larger than what keeps fp32 states
    wide = trained(optim(type=name.removesuffix("_8bit")), weights(shape), 5)["w0"]
    narrow = trained(optim(type=name), weights(shape), 5)["w0"]
    moved = (wide - weights(shape)["w0"]).norm()
    assert 0 < (narrow - wide).norm() < 0.2 * moved


def test_galore_equals_the_library_where_both_do_the_same():
    from pytorch_optimizer import GaLore

    shapes = ((20, 12), (12, 20), (3, 3), (7,))
    config = optim(type="galore", projection_rank=4, update_interval=100, epsilon=1e-12)
    ours = trained(config, weights(*shapes), 4)
    theirs = weights(*shapes)
    more = {"rank": 4, "update_proj_gap": 100, "scale": 0.25, "projection_type": "std"}
    large, small = [theirs["w0"], theirs["w1"]], [theirs["w2"], theirs["w3"]]
    library = GaLore([{"params": large, **more}, {"params": small}], lr=1e-2, eps=1e-12)
    for step in range(4):
        torch.manual_seed(step)
        for param in theirs.values():
            param.grad = torch.randn(param.shape)
        library.step()
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], atol=1e-5), name


def test_galore_renews_its_projection_at_its_interval():
    params = weights((20, 12))
    made = optim(type="galore", projection_rank=4, update_interval=2).make(group(params))
    seen = []
    for _ in range(3):
        steps(made, params, 1)
        seen.append(made.state()["projection/w0"].clone())
        torch.manual_seed(0)
    assert torch.equal(seen[0], seen[1])
    rows = seen[0] @ seen[0].t()
    assert torch.allclose(rows, torch.eye(4), atol=1e-5)


def test_apollo_scales_each_channel_of_the_gradient_itself():
    params = weights((6, 40))
    before = params["w0"].detach().clone()
    made = optim(type="apollo", projection_rank=2).make(group(params))
    steps(made, params, 1, rate=1e-2)
    torch.manual_seed(0)
    gradient = torch.randn(6, 40)
    low = made.state()["projection/w0"] @ gradient
    factor = low.sign().norm(dim=0) / low.norm(dim=0)  # Adam's first direction is the sign
    expected = before - 1e-2 * gradient * factor
    assert torch.allclose(params["w0"], expected, atol=1e-5)


def test_apollo_lets_the_norm_of_an_update_grow_by_one_percent_per_step():
    params = weights((6, 40))
    made = optim(type="apollo", projection_rank=2).make(group(params))
    norms = []
    for size in (1.0, -1.0, -1.0):  # Adam hesitates at the second step
        before = params["w0"].detach().clone()
        made.zero()
        (params["w0"] * torch.full((6, 40), size)).sum().backward()
        made.step(1e-2, 1.0)
        norms.append(float((params["w0"].detach() - before).norm()))
    assert norms[2] == pytest.approx(norms[1] * 1.01, rel=1e-3)


def test_adam_mini_is_adamw_where_a_row_has_gradients_of_one_size():
    def run(name: str) -> torch.Tensor:
        params = weights((5, 8))
        made = optim(type=name, weight_decay=0.1).make(group(params))
        for step in range(4):
            torch.manual_seed(step)
            made.zero()
            signs = torch.randn(5, 8).sign() * torch.rand(5, 1)
            (params["w0"] * signs).sum().backward()
            made.step(1e-2, 1.0)
        return params["w0"].detach()

    assert torch.allclose(run("adam_mini"), run("adamw"), atol=1e-6)


BLOCKS = ("model.embed.weight", "model.layers.0.a", "model.layers.0.b", "model.layers.1.a")


def blocks() -> dict[str, nn.Parameter]:
    return weights((9, 4), (6, 4), (4,), (6, 4), names=BLOCKS)


@pytest.mark.parametrize(
    ("given", "turns"),
    [
        ({}, ["0", "0", "1", "1", "0"]),
        ({"switch_order": "descending"}, ["1", "1", "0", "0", "1"]),
        ({"train_embeddings": True}, ["0", "0", "1", "1", "embed"]),
    ],
)
def test_badam_trains_one_block_at_a_time_and_nothing_else(given: dict[str, Any], turns: list[str]):
    params = blocks()
    made = optim(type="badam", switch_interval=2, **given).make(group(params))
    for turn in turns:
        before = {name: param.detach().clone() for name, param in params.items()}
        active = {name for name, param in params.items() if param.requires_grad}
        steps(made, params, 1)
        changed = {n for n, param in params.items() if not torch.equal(param, before[n])}
        assert changed == active == {n for n in BLOCKS if f".{turn}." in n}


def test_badam_with_one_block_is_adamw():
    names = ("layers.0.a", "layers.0.b")
    settings = {"weight_decay": 0.1}
    ours = trained(optim(type="badam", **settings), weights((6, 4), (4,), names=names), 4)
    adamw = trained(optim(type="adamw", **settings), weights((6, 4), (4,), names=names), 4)
    for name, value in adamw.items():
        assert torch.allclose(ours[name], value, atol=1e-6), name


def test_schedule_free_writes_and_measures_the_average_and_goes_on_with_what_it_trains(
    tmp_path: Path,
):
    made = tiny.config(
        optim={"type": "schedule_free", "schedule": "constant", "learning_rate": 1e-2},
        adapter={"type": "full"}, train={"batch_size": 4, "max_steps": 4, "num_threads": 1},
        evaluate={"every": 1},
    )  # fmt: skip
    assert tiny.run(tmp_path / "a", made, held_out=tiny.rows(4, seed=3)) == "finished"
    folder = tmp_path / "a" / "checkpoints" / "step-00000004"
    written = load_file(folder / "model" / "model.safetensors")
    state = load_file(folder / "optimizer.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    y, z = state[f"weight/{name}"], state[f"z/{name}"]
    assert torch.equal(written[name], torch.lerp(y, z, 1 - 1 / 0.9))
    assert not torch.allclose(written[name], y, atol=1e-5)
    final = load_file(tmp_path / "a" / "model" / "model.safetensors")
    assert torch.equal(final[name], written[name])
    # Measuring does not change the run.
    unseen = made.model_copy(update={"evaluate": tiny.config().evaluate})
    assert tiny.run(tmp_path / "b", unseen) == "finished"
    other = load_file(tmp_path / "b" / "checkpoints" / "step-00000004" / "optimizer.safetensors")
    assert all(torch.equal(value, other[key]) for key, value in state.items())


def test_rules_give_parameters_their_own_rates():
    model = tiny.model()
    config = optim(
        type="adamw", learning_rate=1e-3, weight_decay=0.1, embedding_learning_rate=1e-4,
        groups=[{"match": r"layers\.0\.", "learning_rate": 2e-3},
                "match: norm, weight_decay: 0.5, learning_rate: 0"],
    )  # fmt: skip
    groups = param_groups(config, model)
    rates = {
        name: (each.lr_scale * config.learning_rate, each.weight_decay)
        for each in groups
        for name, _ in each.named
    }
    assert rates["model.layers.0.mlp.up_proj.weight"] == (pytest.approx(2e-3), None)
    assert rates["model.layers.0.input_layernorm.weight"] == (pytest.approx(2e-3), None)
    assert rates["model.layers.1.input_layernorm.weight"] == (0.0, 0.5)
    assert rates["model.embed_tokens.weight"] == (pytest.approx(1e-4), None)
    assert rates["model.layers.1.mlp.up_proj.weight"] == (pytest.approx(1e-3), None)
    made = config.make(groups)
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    ids = torch.arange(30)[None]
    made.zero()
    model(ids, labels=ids).loss.backward()
    made.step(1e-3, 1.0)
    moved = {n: float((p.detach() - before[n]).abs().max()) for n, p in model.named_parameters()}
    assert moved["model.layers.1.input_layernorm.weight"] == 0
    assert moved["model.layers.0.mlp.up_proj.weight"] == pytest.approx(2e-3, rel=0.05)
    assert moved["model.embed_tokens.weight"] == pytest.approx(1e-4, rel=0.05)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"groups": [{"match": "lora", "learning_rate": 1e-3}]}, "matches none of the"),
        ({"embedding_learning_rate": 1e-4}, "does not train embeddings"),
    ],
)
def test_a_rule_for_nothing_is_refused(given: dict[str, Any], said: str):
    model = tiny.model()
    model.get_input_embeddings().requires_grad_(False)
    with pytest.raises(ConfigError, match=said):
        param_groups(optim(**given), model)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--optim.type", "adamw_8bit", "--optim.paged", "--model.device", "cpu"], "CUDA GPU"),
        (["--optim.type", "galore", "--adapter.type", "lora"], "would project nothing"),
        (["--optim.type", "schedule_free", "--optim.betas", "0,0.9"], "above 0"),
        (["--optim.type", "ademamix", "--optim.betas", "0.9,0.9,1"], "3 numbers"),
        (["--optim.groups", "match: norm"], "neither learning_rate nor weight_decay"),
        (["--optim.groups", "match: '(', learning_rate: 1e-5"], "not a regular expression"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(words: list[str], said: str):
    with pytest.raises(ConfigError, match=said):
        prepare(from_tokens(["--data.train", "nothing.jsonl", *words]))


@pytest.mark.parametrize(
    ("name", "extra", "package"),
    [("lion", "optimizers", "pytorch_optimizer"), ("lion_8bit", "quantize", "bitsandbytes")],
)
def test_a_missing_library_is_said_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, extra: str, package: str
):
    real = importlib.util.find_spec
    missing = lambda found: None if found == package else real(found)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", missing)
    with pytest.raises(ConfigError, match=f"{name} needs the package {package}") as caught:
        prepare(from_tokens(["--data.train", "nothing.jsonl", "--optim.type", name]))
    assert caught.value.fix == f"Install it: pip install 'tunery[{extra}]'"


def test_paging_without_a_gpu_is_refused_where_the_device_is_known_late():
    with pytest.raises(ConfigError, match="trains on cpu"):
        optim(type="adamw_8bit", paged=True).make(group(weights((3, 3))))


def test_plan_refuses_a_rule_that_matches_nothing(model: Path, tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "a", "output": "b"}\n' * 4)
    words = ["--model.name", str(model), "--data.train", str(rows), "--model.device", "cpu"]
    wrong = [*words, "--optim.groups", "match: q_prj, learning_rate: 1e-5"]
    with pytest.raises(ConfigError, match="'q_prj' matches none of the"):
        plan(from_tokens(wrong), trial=run_in_process)
    assert plan(from_tokens([*words, "--optim.type", "adamw_8bit"]), trial=run_in_process)
