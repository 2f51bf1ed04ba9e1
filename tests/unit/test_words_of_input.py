"""Sentences about input: files, templates, models and settings that cannot be used as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.chat_model import make_chat_model

from tunery.config.data import DataConfig
from tunery.config.explain import Problem
from tunery.config.load import from_tokens
from tunery.data.examples import read
from tunery.errors import ModelError
from tunery.i18n import speaking
from tunery.models.linear import no_such_module
from tunery.models.not_found import no_such_path
from tunery.models.resolve import resolve
from tunery.runs.folder import create
from tunery.services import datasets, runs
from tunery.train import worker


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "rows.jsonl"
    made = [{"instruction": f"q{i}", "output": f"a{i}"} for i in range(4)]
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return str(file)


def changed(model: Path, folder: Path, **values: Any) -> Path:
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


SIZES: list[tuple[dict[str, Any], str]] = [
    ({"num_attention_heads": 0}, "num_attention_heads is 0; expected at least 1"),
    ({"hidden_size": 0}, "hidden_size is 0; expected at least 1"),
    ({"vocab_size": -3}, "vocab_size is -3; expected at least 1"),
    ({"num_hidden_layers": 0}, "num_hidden_layers is 0; expected at least 1"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000; at most 4,096"),
    ({"num_attention_heads": 5}, "hidden_size 64 is not a multiple of num_attention_heads 5"),
]


@pytest.mark.parametrize(("values", "said"), SIZES)
def test_a_size_that_no_model_has_is_refused_at_every_door(
    model: Path, rows: str, tmp_path: Path, home: Path, values: dict[str, Any], said: str
) -> None:
    broken = changed(model, tmp_path / "broken", **values)
    loaded = from_tokens(["--model.name", str(broken), "--data.train", rows])
    for door in (
        lambda: datasets.check_with_model(rows, loaded.config),
        lambda: datasets.show_row(rows, loaded.config),
        lambda: runs.plan(loaded),
        lambda: runs.prepare(loaded),
    ):
        with pytest.raises(ModelError, match=said):
            door()
    notes = " ".join(resolve(str(broken)).notes)
    assert said in notes


def test_a_template_without_the_text_of_the_messages_is_refused(
    model: Path, rows: str, tmp_path: Path, home: Path
) -> None:
    own = tmp_path / "own.jinja"
    own.write_text("hello")
    flags = ["--model.name", str(model), "--model.template", str(own), "--data.train", rows]
    report = datasets.check_with_model(rows, from_tokens(flags).config)
    assert report.refusal == "E423"
    assert report.groups["E423"].count == 4


def test_a_table_whose_lines_end_in_a_carriage_return_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes(b'instruction,output\rq1,"a\r1"\r' + b"q,a\r" * 2_000 + b"last,line")
    examples = read([str(path)], DataConfig())
    assert len(examples) == 2_002
    assert examples[0].messages[1].content == "a\r1"  # pyright: ignore
    assert examples[2_001].messages[0].content == "last"  # pyright: ignore
    assert examples.ref(1).line == 4


def test_a_column_without_a_name_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("instruction,output,\nq,a,x\n")
    report = datasets.check(str(path), DataConfig())
    found = str(report.groups["W725"].examples[0].found)
    assert found == "not used: column 3 (no name)"


def test_empty_objects_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n{}\n")
    (problem,) = datasets.check(str(path), DataConfig()).problems()
    assert (problem.code, str(problem.found)) == ("E201", "rows are empty objects")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_masked_parts_of_a_row_are_never_advised_to_be_trained(tmp_path: Path, name: str) -> None:
    row = {"segments": [{"label": True, "text": "a"}, {"label": False, "text": "b"}]}
    path = tmp_path / name
    path.write_text(json.dumps(row))
    report = datasets.check(str(path), DataConfig())
    assert report.refusal == "E201"
    said = " ".join(str(problem.fix) for problem in report.problems())
    assert "records_at" not in said
    assert "train: false" in said


def test_modules_are_offered_by_name_not_by_number() -> None:
    error = no_such_module("adapter.extra_modules", "nosuch", ["0", "1", "10", "norm", "lm_head"])
    assert error.fix == "Available: lm_head, norm."


def test_a_folder_with_hidden_files_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("")
    assert no_such_path("x", tmp_path / "nosuch").fix == "Check the path."
    (tmp_path / ".hidden").unlink()
    assert no_such_path("x", tmp_path / "nosuch").fix == f"{tmp_path} is empty."


def test_a_checkpoint_is_only_promised_where_there_is_one(home: Path, rows: str) -> None:
    folder = create("mine", from_tokens(["--data.train", rows]).config, {})
    _, fix = worker._in_words(ZeroDivisionError("x"), folder)  # pyright: ignore
    assert "checkpoint is intact" not in fix
    assert "runs resume" not in fix


def test_a_place_has_the_colon_of_the_language() -> None:
    problem = Problem("stage", "stage", where="x.yaml 1")
    assert problem.sentence == "x.yaml 1: stage"
    with speaking("zh"):
        assert Problem("stage", "stage", where="x.yaml 1").sentence == "x.yaml 1：stage"
