"""`tunery runs list --best` and `tunery runs compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunery.cli.main import main
from tunery.cli.runs_compare import bars
from tunery.config.config import Config
from tunery.errors import UnknownName
from tunery.runs.events import EventWriter
from tunery.runs.folder import create
from tunery.services.runs import loss_curve, ranked

ACCURACY = {"name": "accuracy", "label": "Reward accuracy", "unit": "%", "better": "high"}
PLAN = {"steps_per_epoch": 1, "tokens": 10, "trained_tokens": 5, "batch_size": 1}
LOSS = {"name": "loss", "label": "Loss", "better": "low"}


def run(name: str, losses: list[float], held_out: list[float], **more: Any) -> None:
    """A finished run with these training and validation losses."""
    settings = {"data": {"train": ["identity"]}, "train": {"batch_size": len(losses)}}
    folder = create(name, Config.model_validate(settings), {"created": "2026-11-24T10:00:00+00:00"})
    measures = [LOSS, ACCURACY] if more else [LOSS]
    with EventWriter(folder.events_file) as events:
        events.write("status", status="running", reason="")
        events.write(
            "plan", num_steps=len(losses), trained_parameters=1, total_parameters=2,
            measures=measures, best="loss", loss_per="tokens", **PLAN,
        )  # fmt: skip
        for step, loss in enumerate(losses, 1):
            events.write("step", step=step, epoch=1.0, loss=loss, learning_rate=0.1, tokens=10)
        for step, loss in enumerate(held_out, 1):
            events.write("eval", step=step, loss=loss, measures=dict(more), forgetting=None)
        best = min(held_out, default=None)
        events.write("result", step=len(losses), best_value=best, best_step=1)
        events.write("status", status="finished", reason="")


@pytest.fixture
def three(home: Path) -> Path:
    run("worst", [3.0, 2.0], [2.5, 2.4], accuracy=0.5)
    run("best", [3.0, 1.0, 0.5], [1.0, 1.5], accuracy=0.9)
    run("plain", [2.0], [])
    return home


def test_the_best_value_comes_first(three: Path) -> None:
    assert [row.state.name for row in ranked("loss").rows] == ["best", "plain", "worst"]
    found = ranked("eval_loss")
    # The best evaluation of the deciding measure, not the last one.
    assert [(row.state.name, v) for row, v in zip(found.rows, found.values, strict=True)] == [
        ("best", 1.0), ("worst", 2.4),
    ]  # fmt: skip
    assert found.without == 1
    assert [row.state.name for row in ranked("eval_accuracy").rows] == ["best", "worst"]


def test_an_unknown_measure_names_those_there_are(three: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        ranked("eval_acuracy")
    assert "Did you mean eval_accuracy?" in caught.value.fix
    assert "eval_loss" in caught.value.fix


def test_the_list_is_told_in_words_and_json(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "list", "--best", "eval_loss"]) == 0
    said = capsys.readouterr().out
    assert said.index("best") < said.index("worst")
    assert "1 run has no such value." in said
    assert main(["runs", "list", "--best", "loss", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["value"]) for each in told] == [
        ("best", 0.5), ("plain", 2.0), ("worst", 2.0),
    ]  # fmt: skip


def test_a_comparison_shows_what_differs_results_and_curves(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "compare", "worst", "best"]) == 0
    said = capsys.readouterr().out
    assert "train.batch_size" in said
    assert "data.train" not in said
    assert "3 → 0.5" in said
    assert "All on one scale, from 0.5 to 3." in said
    assert main(["runs", "compare", "worst", "best", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in told["runs"]] == ["worst", "best"]


@pytest.mark.parametrize("names", [[], ["best"], list("abcdefg")])
def test_a_comparison_needs_two_to_six_runs(
    three: Path, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "compare", *names]) == 2
    assert "choose 2 to 6" in capsys.readouterr().err


def test_a_curve_is_the_mean_of_equal_parts(three: Path) -> None:
    assert loss_curve("best", 40) == [3.0, 1.0, 0.5]
    assert loss_curve("best", 2) == [3.0, 0.75]
    assert bars([0.0, 0.5, 1.0], 0.0, 1.0) == "▁▅█"
    assert bars([2.0, 2.0], 2.0, 2.0) == "▁▁"
