"""Nothing of a row or an entry is lost without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.chat_model import make_chat_model

from tunery.chat.remarks import UNNAMED, in_words
from tunery.cli.main import main
from tunery.config.data import DataConfig
from tunery.config.load import from_tokens
from tunery.data.catalog import find
from tunery.data.llamafactory import read_registry
from tunery.errors import RunError
from tunery.runs import drift
from tunery.services import datasets

CHAT = [
    {"role": "user", "content": "Hi", "name": "ann"},
    {"role": "assistant", "content": "Hello"},
]
NAMING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}{% if m['name'] %} {{ m['name'] }}"
    "{% endif %}{{ '\n' + m['content'] }}<|im_end|>{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("model"))


def write(folder: Path, rows: list[dict[str, Any]]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_two_columns_of_one_name_are_refused_in_every_table(tmp_path: Path, kind: str) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table([["q"], ["first"], ["second"]], ["instruction", "output", "output"])
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        parquet.write_table(table, path)
    else:
        with (
            pyarrow.OSFile(str(path), "wb") as sink,
            pyarrow.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)
    report = datasets.check(str(path), DataConfig())
    assert report.refusal == "E144"
    assert str(report.problems()[0].found) == "two columns are named output"


def test_the_name_of_a_message_that_a_template_does_not_write_is_named(
    tmp_path: Path, home: Path, model: Path
) -> None:
    name = write(tmp_path, [{"messages": CHAT}])
    alone = datasets.check(name, DataConfig())
    assert alone.ok
    assert [p.code for p in alone.problems()] == ["N153"]
    config = from_tokens(["--model.name", str(model)]).config
    checked = datasets.check_with_model(name, config)
    assert checked.problems() == []
    assert datasets.notes_with_model(name, config) == [in_words(UNNAMED)]
    shown = datasets.show_row(name, config)
    assert UNNAMED in shown.example.rows[0].notes


def test_the_name_of_a_message_is_used_where_the_template_writes_it(
    tmp_path: Path, home: Path, model: Path
) -> None:
    own = tmp_path / "naming.jinja"
    own.write_text(NAMING)
    name = write(tmp_path, [{"messages": CHAT}])
    flags = ["--model.name", str(model), "--model.template", str(own)]
    config = from_tokens(flags).config
    shown = datasets.show_row(name, config)
    assert "<|im_start|>user ann\nHi" in shown.example.rows[0].text
    assert shown.example.rows[0].notes == ()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"split": "validation"}, "split (validation)"),
        ({"subset": "en", "folder": "data"}, "subset (en), folder (data)"),
        ({"split": "train"}, ""),
    ],
)
def test_keys_that_choose_parts_of_a_hub_dataset_are_named_for_a_file(
    tmp_path: Path, keys: dict[str, str], said: str
) -> None:
    write(tmp_path, [{"instruction": "q", "output": "a"}])
    entry = {"file_name": "rows.jsonl", **keys}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    (dataset,) = read_registry(tmp_path)
    found = [str(problem.found) for problem in dataset.problems]
    assert found == ([f"not used: {said}; every row of rows.jsonl is read"] if said else [])
    report = datasets.check("mine", DataConfig(catalog=tmp_path))
    assert report.ok
    assert [problem.code for problem in report.problems()] == (["W733"] if said else [])


def test_the_same_keys_of_a_hub_dataset_are_used(tmp_path: Path) -> None:
    entry = {"hf_hub_url": "a/b", "split": "test", "subset": "en", "folder": "d"}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    (dataset,) = read_registry(tmp_path)
    assert (dataset.split, dataset.subset, dataset.folder) == ("test", "en", "d")
    assert dataset.problems == ()


@pytest.mark.parametrize("key", ["file_name", "hf_hub_url", "split", "subset", "folder"])
def test_an_entry_whose_names_are_no_texts_is_refused(tmp_path: Path, key: str) -> None:
    entry = {"file_name": "b.json", key: ["b.json"]}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    problem = find("mine", catalog=tmp_path).problems[0]
    assert problem.code == "E173"
    assert str(problem.found) == f"mine.{key}: expected text, got a list of 1"


def test_an_unknown_name_of_a_change_is_refused() -> None:
    record = {"train": {"seed": 1}, "data_hash": "x", "facts": "", "versions": ""}
    drift.refuse_unknown("mine", ["train.seed", "train", "data_hash", "facts.dtype"], record)
    with pytest.raises(RunError, match=r"--allow-drift zork: no such field") as error:
        drift.refuse_unknown("mine", ["zork"], record)
    assert error.value.fix.endswith("one of: train, data_hash, facts, versions.")
    with pytest.raises(RunError) as error:
        drift.refuse_unknown("mine", ["data_hsh"], record)
    assert error.value.fix == "Did you mean data_hash?"


def test_resume_refuses_it_before_anything_starts(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tunery.config.load import from_text
    from tunery.runs.folder import create

    folder = create("mine", from_text("data: {train: [identity]}\n", "x.yaml").config, {})
    assert main(["runs", "resume", "mine", "--allow-drift", "zork"]) == 2
    assert "--allow-drift zork: no such field." in capsys.readouterr().err
    assert not list(folder.path.glob("events*"))
