"""Folders with files of several splits: the training rows are read, others by name (D7)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunery.config.data import DataConfig
from tunery.config.load import from_tokens
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import check
from tunery.data.splits import divided, split_of
from tunery.errors import DataError, TuneryError
from tunery.services import access, datasets
from tunery.services.runs._preparing import with_absolute_paths


def rows(word: str, count: int) -> str:
    return "".join(
        json.dumps({"instruction": f"{word} {i}", "output": word}) + "\n" for i in range(count)
    )


@pytest.fixture
def splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for word, count in {"train": 5, "validation": 2, "test": 3}.items():
        (folder / f"{word}.jsonl").write_text(rows(word, count))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.jsonl", "train"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("dev/rows.csv", "validation"),
        ("my_val.json.gz", "validation"),
        ("test1.jsonl", "test"),
        ("eval rows.jsonl", "test"),
        ("constraints.jsonl", None),
        ("latest.jsonl", None),
    ],
)
def test_a_path_names_its_split_by_whole_words(path: str, split: str | None) -> None:
    assert split_of(path) == split


def test_files_without_a_split_are_the_training_rows_where_no_other_is() -> None:
    assert divided(["a.jsonl", "b.jsonl"]) == {"train": ["a.jsonl", "b.jsonl"]}
    assert divided(["a.jsonl", "test.jsonl"]) == {"train": ["a.jsonl"], "test": ["test.jsonl"]}
    assert divided(["a.jsonl", "train.jsonl"]) == {"train": ["train.jsonl"], "": ["a.jsonl"]}


def test_the_training_rows_of_a_folder_are_read_and_that_is_said(splits: Path) -> None:
    examples = read(["mine"], DataConfig())
    assert len(examples) == 5
    assert [problem.code for problem in examples.warnings] == ["W726"]
    said = examples.warnings[0].sentence
    assert "split train is used; not used: validation, test" in said
    assert "--evaluate.datasets mine:validation" in said


def test_the_advice_about_validation_and_about_every_file_works(splits: Path) -> None:
    held = read(["mine:validation"], DataConfig(), purpose="evaluate")
    assert (len(held), held.warnings) == (2, [])
    everything = read(["mine:all"], DataConfig())
    assert (len(everything), everything.warnings) == (10, [])
    assert read(["mine"], DataConfig(accept=["W726"])).warnings == []


@pytest.mark.parametrize("name", ["mine:dev", "mine:val"])
def test_a_split_may_be_called_by_another_usual_word(splits: Path, name: str) -> None:
    assert len(read([name], DataConfig())) == 2


def test_training_on_a_test_split_is_remarked_and_evaluating_on_it_is_not(splits: Path) -> None:
    assert [p.code for p in read(["mine:test"], DataConfig()).warnings] == ["W715"]
    assert read(["mine:test"], DataConfig(), purpose="evaluate").warnings == []


def test_a_split_that_is_not_there_names_those_that_are(splits: Path) -> None:
    with pytest.raises(DataError, match="no split 'other'") as caught:
        find("mine:other")
    assert caught.value.fix == "Available: train, validation, test; write mine:train."


def test_a_folder_without_training_rows_is_not_guessed(splits: Path) -> None:
    (splits / "train.jsonl").unlink()
    with pytest.raises(DataError, match="no split 'train'") as caught:
        find("mine")
    assert caught.value.fix == "Available: validation, test; write mine:validation."
    (splits / "validation.jsonl").unlink()
    assert len(read(["mine"], DataConfig())) == 3


def test_only_the_files_that_are_read_must_be_of_one_kind(splits: Path) -> None:
    (splits / "test.jsonl").rename(splits / "test.csv")
    assert len(read(["mine"], DataConfig())) == 5
    with pytest.raises(DataError, match="the folder contains several file types"):
        find("mine:all")


def test_a_split_keeps_its_name_from_a_run_to_another_folder(splits: Path) -> None:
    config = from_tokens(
        ["--data.train", "mine:train*2", "--evaluate.datasets", "mine:validation"]
    ).config
    whole = with_absolute_paths(config)
    assert whole.data.train == [f"{splits}:train*2"]
    assert whole.evaluate.datasets == [f"{splits}:validation"]


def test_an_added_folder_has_its_splits(splits: Path, home: Path) -> None:
    datasets.add("known", "mine", DataConfig())
    assert len(read(["known"], DataConfig())) == 5
    assert len(read(["known:validation"], DataConfig())) == 2
    datasets.add("held", "mine:validation", DataConfig(), copy=True)
    (splits / "validation.jsonl").unlink()
    examples = read(["held"], DataConfig())
    assert (len(examples), examples.warnings) == (2, [])


def test_a_split_opens_no_folder_that_the_page_may_not_open(splits: Path, home: Path) -> None:
    (splits.parent / "elsewhere").symlink_to("/etc")
    with pytest.raises(TuneryError):
        access.dataset("/etc:train")
    with pytest.raises(TuneryError):
        access.dataset("elsewhere:train")
    with pytest.raises(TuneryError):
        datasets.source_path("/etc:train")


def saved(folder: Path, word: str, count: int) -> None:
    """What ``Dataset.save_to_disk`` writes, with a cache of ``map`` beside it."""
    import pyarrow

    folder.mkdir(parents=True)
    asked = [f"{word} {i}" for i in range(count)]
    table = pyarrow.table({"instruction": asked, "output": asked})
    for name in ("data-00000-of-00001.arrow", "cache-1b2c3d.arrow"):
        with pyarrow.ipc.new_stream(str(folder / name), table.schema) as out:
            out.write_table(table)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": word}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(
        json.dumps({"features": {"instruction": {"dtype": "string"}}, "citation": ""})
    )


def test_a_dataset_dict_saved_to_disk_is_read_by_its_train_split(tmp_path: Path) -> None:
    folder = tmp_path / "std"
    for word, count in {"train": 4, "sft_test": 2}.items():
        saved(folder / word, word, count)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "sft_test"]}))
    examples = read([str(folder)], DataConfig())
    assert len(examples) == 4
    assert [problem.code for problem in examples.warnings] == ["W726"]
    assert len(read([f"{folder}:sft_test"], DataConfig())) == 2
    assert len(read([str(folder / "sft_test")], DataConfig())) == 2


def test_an_arrow_file_beside_the_description_of_its_dataset_is_read(tmp_path: Path) -> None:
    saved(tmp_path / "one", "train", 3)
    report = check(find(str(tmp_path / "one" / "data-00000-of-00001.arrow")))
    assert (report.ok, report.rows) == (True, 3)


@pytest.mark.parametrize(
    ("name", "code"), [("nan.csv", "W714"), ("mine", "W726"), ("tokens.jsonl", "W707")]
)
def test_a_preview_says_what_is_read_and_what_is_not(
    name: str, code: str, splits: Path, demo_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tunery.cli.main import main

    Path("nan.csv").write_text("instruction,input,output\nq,NaN,a\n")
    Path("tokens.jsonl").write_text('{"text": "<|im_start|>user"}\n')
    assert main(["data", "preview", name]) == 0
    assert code in capsys.readouterr().err
