"""`tunery runs show --plot --csv`: the curves of a run, written where the user says."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tunery.cli.main import main
from tunery.config.config import Config
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create


@pytest.fixture
def resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of six steps that was resumed from step 4, so steps 5 and 6 were made twice."""
    monkeypatch.chdir(tmp_path)
    folder = create("mine", Config(), {})
    with EventWriter(folder.events_file) as events:
        events.write("status", status="running", pid=1)
        events.write(
            "plan", num_steps=6, trained_parameters=1, total_parameters=2, best="loss",
            measures=[{"name": "margin", "label": "Reward margin", "better": "high"}],
        )  # fmt: skip
        for attempt, first in enumerate((1, 5)):
            if attempt:
                events.write("resumed", step=4, checkpoint="step-00000004")
            for step in range(first, 7):
                events.write(
                    "step", step=step, epoch=step / 6, loss=10 * attempt + 1 / step,
                    learning_rate=1e-4, measures={"margin": step / 7},
                )  # fmt: skip
            events.write("eval", step=6, loss=2.0 + attempt)
        events.write("status", status="finished")
    return folder


def test_the_table_has_every_point_once(resumed: RunFolder, capsys) -> None:
    assert main(["runs", "show", "mine", "--csv", "all.csv"]) == 0
    assert "all.csv" in capsys.readouterr().out.replace("\n", "")
    rows = list(csv.DictReader(io.StringIO(Path("all.csv").read_text())))
    steps = [row for row in rows if row["type"] == "step"]
    assert [int(row["step"]) for row in steps] == [1, 2, 3, 4, 5, 6]
    assert [float(row["loss"]) for row in steps] == [1, 1 / 2, 1 / 3, 1 / 4, 10 + 1 / 5, 10 + 1 / 6]
    assert [float(row["margin"]) for row in steps] == [step / 7 for step in range(1, 7)]
    assert [(row["step"], row["loss"]) for row in rows if row["type"] == "eval"] == [("6", "3.0")]


def test_the_image_shows_every_declared_measure(resumed: RunFolder, capsys) -> None:
    assert main(["runs", "show", "mine", "--plot", "c.svg", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == [str(Path("c.svg").absolute())]
    drawn = ElementTree.fromstring(Path("c.svg").read_text())
    ids = [each.get("id") or "" for each in drawn.iter()]
    assert sum(each.startswith("axes_") for each in ids) == 2  # loss and margin
    assert main(["runs", "show", "mine", "--plot", "C.PNG"]) == 0
    assert Path("C.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plot", "c.jpg"], "--plot 'c.jpg': the name must end in .png or .svg."),
        (["--csv", "events.jsonl"], "--csv 'events.jsonl': the name must end in .csv."),
        (["--csv", "good.csv", "--plot", "none/c.png"], "none does not exist."),
        (["--csv", "taken.csv"], "cannot be written: Is a directory."),
    ],
)
def test_a_wrong_file_is_refused_before_anything_is_written(
    resumed: RunFolder, words: list[str], said: str, capsys
) -> None:
    Path("taken.csv").mkdir()
    assert main(["runs", "show", "mine", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in Path.cwd().iterdir() if path.is_file()] == []


def test_a_run_without_steps_has_nothing_to_write(tmp_path: Path, capsys) -> None:
    create("empty", Config(), {})
    assert main(["runs", "show", "empty", "--csv", str(tmp_path / "a.csv")]) == 2
    assert "Run empty has no steps yet" in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()


def test_a_shown_run_does_not_advise_to_show_it(tmp_path: Path, capsys) -> None:
    folder = create("cut", Config(), {})
    with EventWriter(folder.events_file) as events:
        events.write("status", status="stopped")
    assert main(["runs", "show", "cut"]) == 0
    said = capsys.readouterr().out
    assert "tunery runs resume cut" in said
    assert "tunery runs show" not in said
