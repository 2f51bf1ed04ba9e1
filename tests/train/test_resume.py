"""Contract G2, G3, G4: a resumed run equals an uninterrupted one, or is refused (T21, T22)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import tiny

from tunery import faults
from tunery.config.config import Config
from tunery.errors import RunError
from tunery.models.bases import fingerprint
from tunery.runs.signals import StopRequests
from tunery.train.state import drift


class StopAt(StopRequests):
    """Asks for a stop once a step is done, at the given look within the next step."""

    def __init__(self, step: int, *, looks: int = 1) -> None:
        super().__init__()
        self._step, self._looks, self._done = step, looks, False

    def stop(self) -> bool:
        if self._done:
            self._looks -= 1
        return self._done and self._looks < 0

    def saw(self, where: str, values: dict[str, Any]) -> None:
        if where == "after_step" and values["step"] >= self._step:
            self._done = True


def run_in_two(path: Path, settings: Config, stop_at: int, *, looks: int = 0, **parts: Any) -> None:
    """Run to a stop after a step, then to the end."""
    stop = StopAt(stop_at, looks=looks)
    faults.hook = stop.saw
    try:
        assert tiny.run(path, settings, stop=stop, **parts) == "stopped"
    finally:
        faults.hook = None
    assert tiny.newest(path).step < settings_steps(settings)
    assert tiny.run(path, settings, **parts) == "finished"


def settings_steps(settings: Config) -> int:
    return 10_000 if settings.train.max_steps is None else settings.train.max_steps


LORA = {"type": "lora", "rank": 4, "dropout": 0.1}
FULL = {"type": "full"}
MATRIX = [
    # adapter, packing, micro batch tokens (80: several a step), dtype, stop after step
    (LORA, True, 80, torch.float32, 3),
    (LORA, False, 80, torch.float32, 3),
    (LORA, True, 4096, torch.float32, 3),
    (LORA, True, 80, torch.float32, 6),  # the end of an epoch
    (LORA, True, 80, torch.float32, 11),  # the last step but one
    (LORA, True, 80, torch.bfloat16, 5),
    (FULL, True, 80, torch.float32, 3),
    (FULL, True, 80, torch.bfloat16, 7),
    (FULL, False, 80, torch.float32, 6),
    ({"type": "freeze", "num_layers": 1}, True, 80, torch.float32, 4),
    ({"type": "freeze", "num_layers": 1}, True, 80, torch.bfloat16, 4),
    ({**LORA, "dropout": 0.0}, True, 80, torch.float32, 1),
]


@pytest.mark.parametrize(("adapter", "packing", "micro", "dtype", "stop_at"), MATRIX)
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path,
    adapter: dict[str, Any],
    packing: bool,
    micro: int,
    dtype: torch.dtype,
    stop_at: int,
) -> None:
    settings = tiny.config(
        adapter=adapter, data={"packing": packing}, train={"micro_batch_tokens": micro}
    )
    tiny.run(tmp_path / "whole", settings, dtype=dtype)
    run_in_two(tmp_path / "cut", settings, stop_at, dtype=dtype)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    assert tiny.history(tmp_path / "cut") == tiny.history(tmp_path / "whole")


@pytest.mark.parametrize("looks", [0, 1, 2, 3])
def test_a_stop_in_the_middle_of_a_step_does_the_step_again(tmp_path: Path, looks: int) -> None:
    settings = tiny.config(train={"micro_batch_tokens": 40})
    tiny.run(tmp_path / "whole", settings)
    run_in_two(tmp_path / "cut", settings, 3, looks=looks)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    assert tiny.history(tmp_path / "cut") == tiny.history(tmp_path / "whole")


def _measured(tmp_path: Path, name: str) -> list[tuple[Any, ...]]:
    fields = ("step", "loss", "forgetting", "best")
    found = {e["step"]: tuple(e[f] for f in fields) for e in tiny.events(tmp_path / name, "eval")}
    return [found[step] for step in sorted(found)]


@pytest.mark.parametrize("looks", [0, 2, 4])
def test_a_stop_during_an_evaluation_does_the_evaluation_again(tmp_path: Path, looks: int) -> None:
    settings = tiny.config(evaluate={"every": 3, "split": 0.0}, train={"micro_batch_tokens": 40})
    parts = {"held_out": tiny.rows(5, seed=8), "probe": tiny.rows(4, seed=9)}
    tiny.run(tmp_path / "whole", settings, **parts)
    run_in_two(tmp_path / "cut", settings, 3, looks=looks, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    assert _measured(tmp_path, "cut") == _measured(tmp_path, "whole")


def test_many_stops_change_nothing(tmp_path: Path) -> None:
    settings = tiny.config(train={"num_epochs": 1})
    tiny.run(tmp_path / "whole", settings)
    for step in (1, 2, 4, 5):
        stop = StopAt(step)
        faults.hook = stop.saw
        assert tiny.run(tmp_path / "cut", settings, stop=stop) == "stopped"
        faults.hook = None
    tiny.run(tmp_path / "cut", settings)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")


def test_an_evaluation_does_not_change_the_training(tmp_path: Path) -> None:
    parts = {"held_out": tiny.rows(5, seed=8)}
    tiny.run(tmp_path / "with", tiny.config(evaluate={"every": 2}), **parts)
    tiny.run(tmp_path / "without", tiny.config())
    assert tiny.history(tmp_path / "with") == tiny.history(tmp_path / "without")


def test_a_checkpoint_holds_no_pickle(tmp_path: Path) -> None:
    tiny.run(tmp_path / "run")
    kinds = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert kinds <= {".json", ".jsonl", ".safetensors", ".yaml", ""}


def _recorded(settings: Config, **facts: Any) -> dict[str, Any]:
    known = {
        "template_hash": "t", "tokenizer_hash": "k", "model_hash": "m", "revision": "r1",
        "dtype": "float32", "device": "cpu", "world_size": 1,
    }  # fmt: skip
    data_hash = facts.pop("data_hash", "d")
    return drift.recorded(settings, data_hash, {**known, **facts})


DRIFTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("data_hash", {}, {"data_hash": "e"}),
    ("facts.template_hash", {}, {"template_hash": "u"}),
    ("facts.tokenizer_hash", {}, {"tokenizer_hash": "l"}),
    ("facts.model_hash", {}, {"model_hash": "n"}),
    ("facts.revision", {}, {"revision": "r2"}),
    ("facts.dtype", {}, {"dtype": "bfloat16"}),
    ("facts.device", {}, {"device": "cuda"}),
    ("facts.world_size", {}, {"world_size": 2}),
    ("train.seed", {"train": {"seed": 1}}, {}),
    ("train.batch_size", {"train": {"batch_size": 8}}, {}),
    ("train.micro_batch_tokens", {"train": {"micro_batch_tokens": 40}}, {}),
    ("adapter.rank", {"adapter": {"type": "lora", "rank": 8, "dropout": 0.1}}, {}),
    ("optim.learning_rate", {"optim": {"learning_rate": 1e-4}}, {}),
    ("data.max_length", {"data": {"max_length": 64}}, {}),
]


def _saved_with(settings: Config) -> dict[str, Any]:
    before = _recorded(settings)
    facts = {name: before.pop(name) for name in ("data_hash", "facts", "versions")}
    return {"config": before, **facts}


@pytest.mark.parametrize(("field", "changed", "facts"), DRIFTS)
def test_every_drift_is_named_with_its_old_and_new_value_and_refused(
    field: str, changed: dict[str, Any], facts: dict[str, Any]
) -> None:
    saved, now = _saved_with(tiny.config()), _recorded(tiny.config(**changed), **facts)
    with pytest.raises(RunError) as refused:
        drift.check("run", saved, now, allowed=[])
    assert f"{field}:" in refused.value.message
    assert "->" in refused.value.message
    assert f"--allow-drift {field}" in refused.value.fix
    assert drift.check("run", saved, now, allowed=[field]) == [field]


def test_another_version_of_a_package_is_a_drift() -> None:
    saved, now = _saved_with(tiny.config()), _recorded(tiny.config())
    saved["versions"]["torch"] = "2.0.0"
    with pytest.raises(RunError, match=r"versions\.torch: '2\.0\.0' ->"):
        drift.check("run", saved, now, allowed=[])


def test_nothing_changed_is_no_drift() -> None:
    assert (
        drift.check("run", _saved_with(tiny.config()), _recorded(tiny.config()), allowed=[]) == []
    )


def test_another_model_has_another_hash(tmp_path: Path) -> None:
    tiny.model().save_pretrained(tmp_path / "a")
    other = tiny.model()
    other.model.layers[1].mlp.down_proj.weight.data += 1e-3
    other.save_pretrained(tmp_path / "b")
    tiny.model().save_pretrained(tmp_path / "c")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "c")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


def test_another_kind_of_processor_is_named_and_may_be_allowed(tmp_path: Path) -> None:
    made = tiny.config()
    now = drift.recorded(made, "d", {"processor": "Newer CPU (AVX512)", "dtype": "float32"})
    then = {**now, "config": made.model_dump(mode="json")}
    then["facts"] = {**now["facts"], "processor": "Older CPU (AVX2)"}
    with pytest.raises(RunError, match=r"Older CPU .* -> 'Newer CPU") as caught:
        drift.check("mine", then, now, allowed=[])
    assert "--allow-drift facts.processor" in caught.value.fix
    assert drift.check("mine", then, now, allowed=["facts.processor"]) == ["facts.processor"]
    then["facts"] = {"dtype": "float32"}  # of a Tunery that did not record it
    assert drift.check("mine", then, now, allowed=[]) == []


def test_the_processor_is_called_by_its_name_and_its_instructions() -> None:
    found = drift.processor("cpu")
    assert torch.backends.cpu.get_cpu_capability() in found
    assert found == drift.processor("cpu")
    assert len(drift.cpu_name()) > 1
