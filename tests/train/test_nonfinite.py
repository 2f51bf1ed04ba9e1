"""Contract G8: a value that is not finite is shown, not taken, and never saved (T9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.train import tiny

from tunery import faults
from tunery.errors import RunFailed
from tunery.runs.diagnosis import diagnose


class Plan:
    """Puts NaN or infinity into one place, for some steps."""

    def __init__(self, where: str, steps: range, value: float) -> None:
        self.where, self.steps, self.value, self.hits = where, steps, value, 0

    def __call__(self, where: str, values: dict[str, Any]) -> None:
        if values.get("step") not in self.steps:
            return
        match self.where, where:
            case "loss", "loss":
                # In place on the data: the backward pass is untouched, as after an overflow.
                values["loss"].data.fill_(self.value)
            case "gradient", "gradient":
                values["gradients"][0].view(-1)[3] = self.value
            case (("weight" | "exp_avg" | "exp_avg_sq"), "after_step"):
                tensors = values["optimizer"].state()
                name = next(name for name in tensors if name.startswith(f"{self.where}/"))
                tensors[name].view(-1)[0] = self.value
            case "lora_B", "after_step":
                tensors = values["optimizer"].state()
                name = next(n for n in tensors if n.startswith("weight/") and "lora_B" in n)
                tensors[name].view(-1)[0] = self.value
            case _:
                return
        self.hits += 1


@pytest.fixture(autouse=True)
def no_fault() -> Iterator[None]:
    yield
    faults.hook = None


def run_with(plan: Plan, path: Path, **sections: Any) -> str:
    faults.hook = plan
    return tiny.run(path, tiny.config(**sections))


def kept_values_are_finite(path: Path) -> bool:
    files = list((path / "checkpoints").glob("step-*/**/*.safetensors"))
    assert files
    return all(bool(torch.isfinite(t).all()) for f in files for t in load_file(f).values())


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_such_step_is_not_taken_and_the_run_goes_on(
    tmp_path: Path, where: str, value: float
) -> None:
    plan = Plan(where, range(5, 6), value)
    assert run_with(plan, tmp_path) == "finished"
    assert plan.hits >= 1
    step = tiny.events(tmp_path, "step")[4]
    assert step["taken"] is False
    shown = step["loss"] if where == "loss" else step["grad_norm"]
    assert shown in ("nan", "inf")
    (anomaly,) = tiny.events(tmp_path, "anomaly")
    assert anomaly["step"] == 5
    lines = (tmp_path / anomaly["file"]).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert sorted(row["row"] for row in rows) == sorted(anomaly["rows"])
    assert all(row["record"] == row["row"] + 1 for row in rows)
    assert kept_values_are_finite(tmp_path)


def test_the_weights_are_what_they_were_before_such_a_step(tmp_path: Path) -> None:
    faults.hook = Plan("gradient", range(6, 7), float("nan"))
    place = tiny.context(
        tmp_path, tiny.config(train={"max_steps": 6}, checkpoint={"every": "never"})
    )
    with place.events:
        job = tiny.build(place)
        seen: dict[int, dict[str, torch.Tensor]] = {}
        plan = faults.hook

        def both(where: str, values: dict[str, Any]) -> None:
            plan(where, values)
            if where == "after_step":
                kept = {n: t.clone() for n, t in values["optimizer"].state().items()}
                seen[values["step"]] = kept

        faults.hook = both
        from tunery.train.loop import train

        train(job)
    assert all(torch.equal(seen[5][name], seen[6][name]) for name in seen[5])


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_three_such_steps_in_a_row_end_the_run_and_leave_the_last_checkpoint_good(
    tmp_path: Path, where: str
) -> None:
    with pytest.raises(RunFailed, match=r"failed: non-finite\. 3 consecutive steps"):
        run_with(Plan(where, range(5, 100), float("nan")), tmp_path)
    assert [e["step"] for e in tiny.events(tmp_path, "anomaly")] == [5, 6, 7]
    assert tiny.newest(tmp_path).step == 6
    assert kept_values_are_finite(tmp_path)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_that_no_step_changed_has_failed(tmp_path: Path, steps: int) -> None:
    with pytest.raises(RunFailed, match="the model is what it was before training"):
        run_with(
            Plan("gradient", range(1, 100), float("inf")), tmp_path, train={"max_steps": steps}
        )
    assert len(tiny.events(tmp_path, "anomaly")) == steps


def test_skipped_steps_are_told_at_the_end(tmp_path: Path) -> None:
    assert run_with(Plan("loss", range(2, 4), float("nan")), tmp_path) == "finished"
    said = diagnose(tiny.events(tmp_path)).words
    assert "Skipped steps: 2 of 12, whose loss or gradient was not finite." in said


def test_all_steps_are_counted_where_only_some_are_looked_at() -> None:
    """The page picks some steps of a long run; a resumed run may tell of one step twice."""
    picked = [{"type": "step", "step": step, "loss": 2.0} for step in range(0, 90_001, 100)]
    twice = [{"type": "anomaly", "step": 700}] * 2
    assert "Skipped steps: 1 of 90,000," in diagnose([*picked, *twice]).words


def test_such_steps_with_good_ones_between_do_not_add_up(tmp_path: Path) -> None:
    plan = Plan("gradient", range(3, 12, 2), float("inf"))
    assert run_with(plan, tmp_path) == "finished"
    assert len(tiny.events(tmp_path, "anomaly")) == 5


@pytest.mark.parametrize("where", ["weight", "exp_avg", "exp_avg_sq", "lora_B"])
def test_weights_and_states_that_are_not_finite_are_never_saved(tmp_path: Path, where: str) -> None:
    with pytest.raises(RunFailed, match="not finite"):
        run_with(Plan(where, range(6, 7), float("nan")), tmp_path)
    assert tiny.newest(tmp_path).step == 4
    assert kept_values_are_finite(tmp_path)


def test_an_evaluation_loss_that_is_not_finite_is_shown_and_never_the_best(tmp_path: Path) -> None:
    def hook(where: str, values: dict[str, Any]) -> None:
        if where == "eval":
            object.__setattr__(values["result"], "loss", float("nan"))

    faults.hook = hook
    tiny.run(tmp_path, tiny.config(evaluate={"every": 6}), held_out=tiny.rows(4, seed=3))
    told = tiny.events(tmp_path, "eval")
    assert [e["loss"] for e in told] == ["nan", "nan", "nan"]
    assert not any(e["best"] for e in told)
    assert tiny.newest(tmp_path).state().best_step is None
