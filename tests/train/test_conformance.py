"""What every method, adapter and optimizer must hold, run over the tuples of kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.train import tiny
from tests.train.test_preferences import judged, prefer
from tests.train.test_resume import run_in_two

from tunery.config.adapters import ADAPTERS
from tunery.config.adapters.full import FullConfig
from tunery.config.base import tag
from tunery.config.config import Config
from tunery.config.frozen import with_types
from tunery.config.methods import METHODS
from tunery.config.optimizers import OPTIMIZERS
from tunery.config.quantization import QUANTIZATIONS
from tunery.data.kinds import ROW_KINDS
from tunery.data.rows import Rows
from tunery.models.attach import load_adapter
from tunery.optimizers.base import ParamGroup
from tunery.shape import ModelShape
from tunery.train.loop import train
from tunery.train.state import final

METHOD_TAGS = [tag(kind) for kind in METHODS]
ADAPTER_TAGS = [tag(kind) for kind in ADAPTERS]
OPTIMIZER_TAGS = [tag(kind) for kind in OPTIMIZERS]
QUANTIZATION_TAGS = [tag(kind) for kind in QUANTIZATIONS]


def plain(count: int = 16, *, seed: int = 3) -> Rows:
    return Rows.of(tiny.rows(count, seed=seed))


ROWS: dict[str, Callable[..., Rows]] = {
    "conversation": plain, "text": plain, "pair": prefer, "labelled": judged,
}  # fmt: skip
"""Rows that can be learned from, by row kind: a new row kind adds its own here."""


def rows_of(method: str, count: int = 16, *, seed: int = 3) -> Rows:
    kind = next(kind for kind in METHODS if tag(kind) == method)
    return ROWS[kind.rows](count, seed=seed)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A further model, for methods that read one: other weights for the same tokens."""
    folder = tmp_path_factory.mktemp("other") / "model"
    model = tiny.model(layers=1)
    torch.manual_seed(11)
    for param in model.parameters():
        param.data.normal_(std=0.2)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def chosen(method: str, other: Path) -> dict[str, str]:
    """The settings that select a method, with the further models that it cannot do without."""
    kind = next(kind for kind in METHODS if tag(kind) == method)
    needed = [field for field in kind.models if kind.model_fields[field].default is not None]
    return {"type": method, **{field: str(other) for field in needed}}


def settings(**sections: Any) -> Config:
    base: dict[str, Any] = {
        "adapter": {"type": "lora", "rank": 4},
        "train": {"batch_size": 8, "max_steps": 4, "num_epochs": 9, "micro_batch_tokens": 4096,
                  "num_threads": 1},
        "evaluate": {"every": 2},
    }  # fmt: skip
    return tiny.config(**(base | sections))


def train_events(path: Path, kind: str) -> list[dict[str, Any]]:
    return tiny.events(path, kind)


def test_every_method_learns_from_a_row_kind_that_exists():
    assert {kind.rows for kind in METHODS} <= {kind.name for kind in ROW_KINDS}
    assert set(ROWS) == {kind.name for kind in ROW_KINDS}


@pytest.mark.parametrize("method", METHOD_TAGS)
def test_a_step_does_not_depend_on_how_its_batch_is_divided(
    tmp_path: Path, other: Path, method: str
) -> None:
    told = {}
    for name, data, micro in (
        ("at once", {"packing": True}, 4096), ("in parts", {"packing": True}, 60),
        ("one by one", {"packing": False}, 4096),
    ):  # fmt: skip
        place = tmp_path / name
        sizes = {"batch_size": 8, "max_steps": 4, "num_epochs": 9, "num_threads": 1}
        made = settings(method=chosen(method, other), data={"train": ["rows"], **data},
                        train={**sizes, "micro_batch_tokens": micro})  # fmt: skip
        tiny.run(place, made, data=rows_of(method), held_out=rows_of(method, 6, seed=8))
        steps = train_events(place, "step")
        told[name] = [(e["loss"], e["grad_norm"], *e.get("measures", {}).values()) for e in steps]
    for division in ("in parts", "one by one"):
        for found, expected in zip(told[division], told["at once"], strict=True):
            assert found == pytest.approx(expected, rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("method", METHOD_TAGS)
def test_the_measures_told_are_those_declared(tmp_path: Path, other: Path, method: str) -> None:
    tiny.run(
        tmp_path, settings(method=chosen(method, other)),
        data=rows_of(method), held_out=rows_of(method, 6, seed=8),
    )  # fmt: skip
    kind = next(kind for kind in METHODS if tag(kind) == method)
    declared = {measure.name for measure in kind.measures}
    assert kind.best in declared
    for event in [*train_events(tmp_path, "step"), *train_events(tmp_path, "eval")]:
        assert {"loss", *event.get("measures", {})} == declared
    [plan] = train_events(tmp_path, "plan")
    assert [measure["name"] for measure in plan["measures"]] == [m.name for m in kind.measures]


@pytest.mark.parametrize("adapter", ADAPTER_TAGS)
@pytest.mark.parametrize("method", METHOD_TAGS)
@pytest.mark.flaky(reruns=0)
def test_every_method_resumes_to_the_bit_with_every_adapter(
    tmp_path: Path, other: Path, method: str, adapter: str
) -> None:
    resumes_to_the_bit(tmp_path, chosen(method, other), adapter, {"type": OPTIMIZER_TAGS[0]})


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=OPTIMIZER_TAGS)
@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.flaky(reruns=0)
def test_every_optimizer_resumes_to_the_bit(tmp_path: Path, adapter: str, kind: Any) -> None:
    # An optimizer does not see the method: one of them is enough.
    resumes_to_the_bit(
        tmp_path, {"type": METHOD_TAGS[0]}, adapter, {"type": tag(kind), **small(kind)}
    )


def resumes_to_the_bit(
    path: Path, method: dict[str, str], adapter: str, optim: dict[str, Any]
) -> None:
    made = settings(
        method=method,
        adapter={"type": adapter, **({"dropout": 0.1, "rank": 4} if adapter == "lora" else {})},
        optim={"learning_rate": 1e-3, **optim},
    )
    kind = method["type"]
    parts = {"data": rows_of(kind), "held_out": rows_of(kind, 6, seed=8)}
    assert tiny.run(path / "whole", made, **parts) == "finished"
    run_in_two(path / "cut", made, 2, **parts)
    assert tiny.digest(path / "cut") == tiny.digest(path / "whole")


SMALL = {"projection_rank": 2, "update_interval": 3, "switch_interval": 3}
"""Settings with which four steps reach what an optimizer does rarely, after the resume."""


def small(kind: Any) -> dict[str, Any]:
    return {name: value for name, value in SMALL.items() if name in kind.model_fields}


@pytest.mark.parametrize("quantization", QUANTIZATION_TAGS[1:])
@pytest.mark.flaky(reruns=0)
def test_a_quantized_base_resumes_to_the_bit(tmp_path: Path, quantization: str) -> None:
    made = settings(
        quantization={"type": quantization}, adapter={"type": "lora", "dropout": 0.1, "rank": 4}
    )
    parts = {"data": plain(), "held_out": plain(6, seed=8)}
    assert tiny.run(tmp_path / "whole", made, **parts) == "finished"
    run_in_two(tmp_path / "cut", made, 2, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", OPTIMIZERS, ids=OPTIMIZER_TAGS)
def test_an_optimizer_takes_its_state_back_and_says_how_large_it_is(
    kind: Any, dtype: torch.dtype
) -> None:
    config = kind(weight_decay=0.01, learning_rate=1e-2, **small(kind))

    def made() -> tuple[torch.nn.Module, Any]:
        model = tiny.model(dtype)
        return model, config.make([ParamGroup(list(model.named_parameters()))])

    def steps(model: Any, optimizer: Any, begin: int, end: int) -> None:
        for step in range(begin, end):
            ids = torch.arange(step, step + 30)[None]
            optimizer.zero()
            model(ids, labels=ids).loss.backward()
            optimizer.step(1e-2, float(optimizer.grad_norm()))

    model, optimizer = made()
    before = {name: value.clone() for name, value in optimizer.state().items()}
    steps(model, optimizer, 0, 3)
    kept = {name: value.clone() for name, value in optimizer.state().items()}
    assert any(not torch.equal(kept[name], before[name]) for name in kept if "weight/" in name)
    steps(model, optimizer, 3, 6)
    again, other = made()
    assert other.state().keys() == kept.keys()
    other.load(kept)
    steps(again, other, 3, 6)
    for name, value in optimizer.state().items():
        assert torch.equal(value, other.state()[name]), name
    for own, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(own, theirs)
    assert optimizer.is_finite()
    shape = ModelShape.from_config_json(
        model.config.to_dict(), total_parameters=sum(p.numel() for p in model.parameters())
    )
    states = sum(
        value.numel() * value.element_size()
        for name, value in kept.items()
        if not name.startswith("weight/") and value.dim()
    )
    weights = FullConfig().weights(shape)
    assert states == pytest.approx(config.state_bytes(weights), rel=0.15)
    gradients = sum(gradient.nbytes for gradient in optimizer.gradients)
    assert gradients == pytest.approx(config.gradient_bytes(weights), rel=0.01)


@pytest.mark.parametrize("adapter", ADAPTER_TAGS)
def test_an_adapter_trains_what_it_says_and_is_opened_again(tmp_path: Path, adapter: str) -> None:
    given = {"num_layers": 1} if adapter == "freeze" else {}
    config = with_types({"adapter": {"type": adapter, **given}})["adapter"]
    made = settings(adapter=config, evaluate={"every": "never"})
    place = tiny.context(tmp_path, made)
    with place.events:
        job = tiny.build(place)
        before = tiny.model()
        shape = ModelShape.from_config_json(
            before.config.to_dict(), total_parameters=sum(p.numel() for p in before.parameters())
        )
        assert job.optimizer.num_parameters == made.adapter.trained(shape)
        train(job)
        path = final.write(place.folder, job.adapter, job.policy.model, job.data.tokenizer)
    assert path.name == made.adapter.writes
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        trained = job.policy.model.eval()(ids).logits
        off = job.adapter.off(job.policy.model)
        if off is not None:
            with off():
                assert torch.equal(job.policy.model(ids).logits, before(ids).logits)
        if made.adapter.writes == "adapter":
            beside = PeftModel.from_pretrained(tiny.model(), str(path)).eval()
            assert torch.allclose(beside(ids).logits, trained, atol=1e-5)
            merged = load_adapter(tiny.model(), path).merge_and_unload()  # type: ignore[operator]
        else:
            from transformers import AutoModelForCausalLM

            merged = AutoModelForCausalLM.from_pretrained(path).eval()
        assert torch.allclose(merged(ids).logits, trained, atol=1e-4)
        assert not torch.allclose(before(ids).logits, trained, atol=1e-4)
