"""The loop: the loss falls with every adapter, and how a batch is divided does not matter."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from tests.train import tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunery import faults
from tunery.data.groups import TokenRow
from tunery.errors import ConfigError, RunFailed
from tunery.i18n import phrase_of
from tunery.train.loop import train

ADAPTERS: list[tuple[dict[str, Any], float]] = [
    ({"type": "lora", "rank": 16, "alpha": 64}, 5e-3),
    ({"type": "full"}, 5e-3),
    ({"type": "freeze", "num_layers": 1, "extra_modules": ["model.norm"]}, 3e-3),
]


def losses(path: Path) -> list[float]:
    return [e["loss"] for e in tiny.events(path, "step")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("adapter", "rate"), ADAPTERS)
def test_the_loss_falls(
    tmp_path: Path, adapter: dict[str, Any], rate: float, dtype: torch.dtype
) -> None:
    settings = tiny.config(
        adapter=adapter,
        optim={"learning_rate": rate},
        train={"num_epochs": 5},
        checkpoint={"every": "never"},
    )
    assert tiny.run(tmp_path, settings, dtype=dtype) == "finished"
    told = losses(tmp_path)
    assert len(told) == 30
    assert sum(told[-3:]) / 3 < 0.85 * sum(told[:3]) / 3


def _one_gradient(path: Path, *, micro: int, packing: bool, adapter: dict[str, Any]) -> Any:
    settings = tiny.config(
        adapter=adapter,
        data={"packing": packing},
        train={"batch_size": 16, "micro_batch_tokens": micro, "max_steps": 1},
        optim={"max_grad_norm": 0.0},
    )
    seen: dict[str, Any] = {}

    def hook(where: str, values: dict[str, Any]) -> None:
        if where == "gradient":
            seen["gradient"] = torch.cat([g.flatten() for g in values["gradients"]]).clone()

    faults.hook = hook
    try:
        place = tiny.context(path, settings)
        with place.events:
            train(tiny.build(place))
    finally:
        faults.hook = None
    return tiny.events(path, "step")[0]["loss"], seen["gradient"]


@pytest.mark.parametrize("adapter", [{"type": "lora", "rank": 4}, {"type": "full"}])
def test_one_times_sixteen_is_two_times_eight_is_sixteen_times_one_is_packed(
    tmp_path: Path, adapter: dict[str, Any]
) -> None:
    whole_loss, whole = _one_gradient(tmp_path / "w", micro=10_000, packing=True, adapter=adapter)
    divided = {
        "two micro batches": _one_gradient(
            tmp_path / "2", micro=200, packing=True, adapter=adapter
        ),
        "five": _one_gradient(tmp_path / "5", micro=80, packing=True, adapter=adapter),
        "one row each": _one_gradient(tmp_path / "16", micro=8, packing=True, adapter=adapter),
        "not packed": _one_gradient(tmp_path / "n", micro=10_000, packing=False, adapter=adapter),
    }
    for name, (loss, gradient) in divided.items():
        assert loss == pytest.approx(whole_loss, rel=1e-5), name
        error = float((gradient - whole).norm() / whole.norm())
        assert error < 1e-5, f"{name}: {error}"


def test_an_epoch_shows_every_row_once_and_a_new_one_in_another_order(tmp_path: Path) -> None:
    place = tiny.context(tmp_path, tiny.config(train={"batch_size": 5}))
    with place.events:
        order = tiny.build(place).order
    steps = [order.rows(step).tolist() for step in range(1, 11)]
    first, second = list(itertools.chain(*steps[:5])), list(itertools.chain(*steps[5:]))
    assert [len(step) for step in steps[:5]] == [5, 5, 5, 5, 4]
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second


@pytest.mark.parametrize(
    ("section", "steps"),
    [
        ({"num_epochs": 2}, 12),
        ({"num_epochs": 0.5}, 3),
        ({"num_epochs": 1.25}, 8),
        ({"num_epochs": 0.01}, 1),
        ({"num_epochs": 3, "max_steps": 4}, 4),
        ({"num_epochs": 1, "max_steps": 40}, 40),
    ],
)
def test_the_number_of_steps(tmp_path: Path, section: dict[str, Any], steps: int) -> None:
    place = tiny.context(tmp_path, tiny.config(train=section))
    with place.events:
        assert tiny.build(place).num_steps == steps


def test_a_named_module_that_does_not_exist_is_answered_with_near_misses(tmp_path: Path) -> None:
    adapter = {"type": "lora", "target_modules": ["q_proj", "v_prj"]}
    place = tiny.context(tmp_path, tiny.config(adapter=adapter))
    with place.events, pytest.raises(ConfigError) as refused:
        tiny.build(place)
    assert "adapter.target_modules" in refused.value.message
    assert "'v_prj'" in refused.value.message
    assert "Did you mean v_proj" in refused.value.fix


def test_named_modules_alone_get_an_adapter(tmp_path: Path) -> None:
    adapter = {"type": "lora", "target_modules": ["q_proj", "v_proj"]}
    place = tiny.context(tmp_path, tiny.config(adapter=adapter))
    with place.events:
        names = tiny.build(place).optimizer.state()
    adapted = {name.split(".")[-4] for name in names if name.startswith("weight/")}
    assert adapted == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("adapter", "word"),
    [
        ({"type": "freeze", "num_layers": 9}, "2 decoder layers"),
        ({"type": "freeze", "extra_modules": ["lm_hed"]}, "lm_hed"),
    ],
)
def test_a_freeze_that_does_not_fit_the_model_is_refused(
    tmp_path: Path, adapter: dict[str, Any], word: str
) -> None:
    place = tiny.context(tmp_path, tiny.config(adapter=adapter))
    with place.events, pytest.raises(ConfigError, match=word):
        tiny.build(place)


def test_freeze_changes_the_last_layers_alone(tmp_path: Path) -> None:
    before = {name: p.clone() for name, p in tiny.model().named_parameters()}
    tiny.run(tmp_path, tiny.config(adapter={"type": "freeze", "num_layers": 1}))
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    changed = {n for n, p in after.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert all(name.startswith("model.layers.1.") for name in changed)


def test_the_adapter_is_opened_by_peft_and_gives_the_trained_logits(tmp_path: Path) -> None:
    place = tiny.context(tmp_path, tiny.config(adapter={"type": "lora", "rank": 4}))
    with place.events:
        built = tiny.build(place)
        train(built)
        from tunery.train.state import final

        path = final.write(place.folder, built.adapter, built.policy.model, built.data.tokenizer)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        trained = built.policy.model.eval()(ids).logits
        plain = tiny.model()(ids).logits
        opened = peft.PeftModel.from_pretrained(tiny.model(), path).eval()(ids).logits
    torch.testing.assert_close(opened, trained, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(opened, plain, atol=1e-3)
    assert peft.PeftConfig.from_pretrained(str(path)).base_model_name_or_path == "tiny"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_is_opened_by_transformers_and_gives_the_trained_logits(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    place = tiny.context(tmp_path, tiny.config(adapter={"type": "full"}))
    with place.events:
        built = tiny.build(place, dtype=dtype)
        train(built)
        from tunery.train.state import final

        path = final.write(place.folder, built.adapter, built.policy.model, built.data.tokenizer)
    opened = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    assert opened.dtype == dtype
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        trained = built.policy.model.eval()(ids).logits.float()
        torch.testing.assert_close(opened(ids).logits.float(), trained, rtol=1e-2, atol=1e-2)
    assert AutoTokenizer.from_pretrained(path)("w5 w6").input_ids == [5, 6]


def test_evaluation_finds_the_best_step_and_patience_stops_early(tmp_path: Path) -> None:
    # Trained on counting up, evaluated on counting down: the evaluation loss soon rises.
    backwards = [
        TokenRow(row.input_ids[::-1].copy(), row.loss_mask) for row in tiny.rows(6, seed=4)
    ]
    settings = tiny.config(
        evaluate={"every": 2, "patience": 3},
        train={"num_epochs": 20},
        optim={"learning_rate": 3e-2},
        checkpoint={"every": "never", "keep": 1},
    )
    assert tiny.run(tmp_path, settings, held_out=backwards) == "finished"
    told = tiny.events(tmp_path, "eval")
    state = tiny.newest(tmp_path).state()
    after = [e for e in told if e["step"] > 0]
    lowest = min(after, key=lambda e: e["loss"])
    assert state.stopped_early
    assert (state.best_step, state.best_value) == (lowest["step"], lowest["loss"])
    assert told[-1]["step"] == lowest["step"] + 6 < 120
    best = tmp_path / "checkpoints" / f"step-{lowest['step']:08d}"
    assert best.is_dir(), "the best checkpoint is kept"


def test_forgetting_is_the_change_on_the_probe_rows(tmp_path: Path) -> None:
    settings = tiny.config(evaluate={"every": "epoch"})
    tiny.run(tmp_path, settings, probe=tiny.rows(5, seed=11))
    told = tiny.events(tmp_path, "eval")
    assert [e["step"] for e in told] == [0, 6, 12]
    assert told[0]["forgetting"] == 0.0
    assert all(e["forgetting"] != 0.0 for e in told[1:])


def test_steps_evaluations_and_checkpoints_are_told(tmp_path: Path) -> None:
    tiny.run(tmp_path, tiny.config(evaluate={"every": 6}), held_out=tiny.rows(4, seed=3))
    steps = tiny.events(tmp_path, "step")
    assert [e["step"] for e in steps] == list(range(1, 13))
    assert sum(e["tokens"] for e in steps) == 2 * sum(len(row) for row in tiny.rows())
    assert sum(e["trained_tokens"] for e in steps) == 2 * sum(
        row.num_trained for row in tiny.rows()
    )
    assert steps[-1]["eta_seconds"] < 2  # the answers at the end are still to come
    assert [e["step"] for e in tiny.events(tmp_path, "checkpoint")] == [0, 2, 4, 6, 8, 10, 12]
    (plan,) = tiny.events(tmp_path, "plan")
    assert plan["num_steps"] == 12
    # Without those of the adapter, as the plan before the run counts them.
    assert plan["total_parameters"] == sum(p.numel() for p in tiny.model().parameters())
    assert 0 < plan["trained_parameters"] < plan["total_parameters"]


def test_a_save_is_made_after_some_minutes_and_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tiny.context(tmp_path, tiny.config(checkpoint={"every": "never", "every_minutes": 1}))
    with place.events:
        job = tiny.build(place)
        assert job.saver.save(job.state, job.optimizer)
        job.state.step = 3
        assert not job.saver.due(job.state)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 61)
        assert job.saver.due(job.state)
        monkeypatch.undo()
        (place.folder.control_dir / "save").touch()
        assert job.saver.due(job.state)
        assert job.saver.save(job.state, job.optimizer)
        assert not (place.folder.control_dir / "save").exists()


@pytest.mark.parametrize("jump_seconds", [-86400.0, -3600.0, 3600.0, 86400.0])
def test_jumps_of_the_clock_change_neither_numbers_nor_times_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_seconds: float
) -> None:
    tiny.run(tmp_path / "calm")
    count, real = itertools.count(), time.time
    monkeypatch.setattr(time, "time", lambda: real() + (next(count) % 2) * jump_seconds)
    tiny.run(tmp_path / "jumping")
    assert tiny.history(tmp_path / "jumping") == tiny.history(tmp_path / "calm")
    assert tiny.digest(tmp_path / "jumping") == tiny.digest(tmp_path / "calm")
    assert all(0 <= e["eta_seconds"] < 300 for e in tiny.events(tmp_path / "jumping", "step"))
    kept = sorted(p.name for p in (tmp_path / "jumping" / "checkpoints").iterdir())
    assert kept == ["step-00000010", "step-00000012"]


class NoRoom:
    """Memory for at most so many tokens at once."""

    def __init__(self, limit: int, method: Any) -> None:
        self.limit, self.method = limit, method

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)

    def loss(self, policy: Any, batch: Any, step: Any) -> Any:
        if batch.num_tokens > self.limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return self.method.loss(policy, batch, step)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_gradient(tmp_path: Path) -> None:
    settings = tiny.config(
        train={"batch_size": 8, "micro_batch_tokens": 4096}, adapter={"type": "lora", "rank": 4}
    )
    tiny.run(tmp_path / "roomy", settings)
    place = tiny.context(tmp_path / "narrow", settings)
    with place.events:
        job = tiny.build(place)
        job.method = NoRoom(70, job.method)
        assert train(job) == "finished"
    told = tiny.events(tmp_path / "narrow", "warning")
    assert told
    assert all(e["code"] == "out-of-memory" for e in told)
    assert job.state.micro_batch_tokens <= 70
    assert losses(tmp_path / "narrow") == pytest.approx(losses(tmp_path / "roomy"), rel=1e-4)


def test_one_row_that_does_not_fit_is_named(tmp_path: Path) -> None:
    place = tiny.context(tmp_path, tiny.config())
    with place.events:
        job = tiny.build(place)
        job.method = NoRoom(30, job.method)
        with pytest.raises(RunFailed) as failed:
            train(job)
    assert "a single row does not fit" in failed.value.message
    assert "dataset rows, record" in failed.value.message
    assert "train.gradient_checkpointing" in failed.value.fix
    assert "adapter.rank" in failed.value.fix


@pytest.mark.parametrize("way", ["already on", "not of this model", "full"])
def test_the_advice_for_a_row_that_does_not_fit_names_only_what_can_be_set(
    tmp_path: Path, way: str
) -> None:
    more: dict[str, Any] = {"train": {"gradient_checkpointing": way == "already on"}}
    if way == "full":
        more["adapter"] = {"type": "full"}
    place = tiny.context(tmp_path, tiny.config(**more))
    with place.events:
        job = tiny.build(place)
        job.method = NoRoom(30, job.method)
        if way == "not of this model":
            inner: Any = job.policy.model
            inner.base_model.model.supports_gradient_checkpointing = False
        with pytest.raises(RunFailed) as failed:
            train(job)
    assert ("train.gradient_checkpointing" in failed.value.fix) is (way == "full")
    assert ("adapter.rank" in failed.value.fix) is (way != "full")
    assert "data.max_length" in failed.value.fix
    assert phrase_of(failed.value.fix) is not None


def test_gradient_checkpointing_gives_the_same_numbers(tmp_path: Path) -> None:
    base = {"batch_size": 4, "micro_batch_tokens": 80, "max_steps": 4}
    tiny.run(tmp_path / "plain", tiny.config(train=base))
    tiny.run(tmp_path / "again", tiny.config(train={**base, "gradient_checkpointing": True}))
    assert losses(tmp_path / "again") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
