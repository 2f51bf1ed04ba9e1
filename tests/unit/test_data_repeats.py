"""``NAME*3``: bounded, cheap, and the same rows as three times the name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.chat_model import make_chat_model

from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig
from tunery.data import example_set, tokenize
from tunery.data.catalog import weight
from tunery.data.examples import read, split
from tunery.data.llamafactory import read_registry
from tunery.errors import ConfigError, DataError
from tunery.models.tokenizer import load_light
from tunery.services import datasets


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "rows.jsonl"
    made = [{"instruction": f"question {i}", "output": "a " * (i + 1)} for i in range(30)]
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return str(file)


@pytest.mark.parametrize("times", ["1001", "1000000000", "9" * 25, "9" * 5000])
def test_more_repeats_than_a_run_can_hold_are_refused(times: str) -> None:
    with pytest.raises(ConfigError, match=r"from 1 to 1,000 after \*"):
        weight(f"identity*{times}")
    with pytest.raises(ConfigError, match=r"from 1 to 1,000 after \*"):
        datasets.check(f"identity*{times}", DataConfig())


def test_repeats_are_the_same_rows_and_take_no_memory(rows: str) -> None:
    many, once = read([f"{rows}*1000"], DataConfig()), read([rows], DataConfig())
    assert len(many) == 30_000
    assert many[29_999] == once[29]
    assert [many.first(i) for i in (0, 29, 30, 29_999)] == [0, 29, 0, 29]
    assert many.blocks() == [example_set.Block(0, 30, 1000)]


def test_a_dataset_too_large_to_repeat_is_refused_alike(
    rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example_set, "MAX_ROWS", 59)
    with pytest.raises(DataError, match="its 30 rows would become 60; at most 59 are supported"):
        read([f"{rows}*2"], DataConfig())
    report = datasets.check(f"{rows}*2", DataConfig())
    assert report.refusal == "E174"
    assert datasets.check(rows, DataConfig()).ok


@pytest.mark.parametrize("max_length", [2048, 40])
def test_what_is_repeated_is_tokenized_once_and_gives_the_same_tokens(
    rows: str, model: Path, monkeypatch: pytest.MonkeyPatch, max_length: int
) -> None:
    tokenizer = load_light(model)
    template = ChatTemplate.load(tokenizer, model=model)
    settings = DataConfig(max_length=max_length)
    rendered: list[int] = []
    whole = tokenize._tokenize_chunk  # pyright: ignore[reportPrivateUsage]

    def counted(chunk, tools):
        rendered.append(len(chunk))
        return whole(chunk, tools)

    monkeypatch.setattr(tokenize, "_tokenize_chunk", counted)
    names = [rows, f"{rows}*4", rows]
    found = tokenize.tokenize_all(read(names, settings), template, tokenizer, settings, cache=None)
    assert sum(rendered) == 90
    same = tokenize.tokenize_all(read([rows] * 6, settings), template, tokenizer, settings,
                                 cache=None)  # fmt: skip
    assert sum(rendered) == 90 + 180
    assert len(found) == len(same)
    for i in range(len(same)):
        one, other = found.group(i), same.group(i)
        assert found.source(i) == same.source(i)
        assert len(one.rows) == len(other.rows)
        for a, b in zip(one.rows, other.rows, strict=True):
            assert np.array_equal(a.input_ids, b.input_ids)
            assert np.array_equal(a.loss_mask, b.loss_mask)
    for name in ("notes", "filtered", "truncated", "cut_tokens", "longest_cut", "keeps_99",
                 "examples", "max_id"):  # fmt: skip
        assert getattr(found, name) == getattr(same, name), name


def test_repeats_are_divided_like_duplicates(rows: str) -> None:
    train, held = split(read([f"{rows}*5"], DataConfig()), 0.2, 7)
    assert len(held) == 30
    assert not {i % 30 for i in train} & {i % 30 for i in held}
    assert (train, held) == split(read([rows] * 5, DataConfig()), 0.2, 7)


def test_repeats_of_what_is_not_trained_on_are_named(rows: str) -> None:
    found = read([f"{rows}*3"], DataConfig(), purpose="evaluate")
    assert len(found) == 30
    (said,) = [each for each in found.warnings if each.code == "W731"]
    assert str(said.found) == "*3 is not used: evaluate.datasets takes each row once"


def test_check_and_preview_take_the_name_that_training_takes(home: Path) -> None:
    assert datasets.check("instructions*2", DataConfig()).rows == 60


def test_num_samples_beyond_reason_is_refused_where_the_entry_is_read(tmp_path: Path) -> None:
    entry = {"file_name": "rows.jsonl", "num_samples": 10**15}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": entry}))
    (dataset,) = read_registry(tmp_path)
    assert "num_samples: expected at most 100,000,000" in str(dataset.problems[0].found)
