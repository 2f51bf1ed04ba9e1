"""A row's weight in the loss: read from its column, checked, and kept with its tokens."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.families import family

from tunery.chat.remarks import (
    DROPPED,
    NO_DIFFERENCE,
    NO_ROOM,
    NO_TRAINED_TOKEN,
    WEIGHS_NOTHING,
)
from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.formats import FORMATS, RowOptions
from tunery.data.kinds import row_kind_named
from tunery.data.lint import CheckOptions, check
from tunery.data.nothing_left import way_out
from tunery.data.tokenize import tokenize_all
from tunery.errors import DataError
from tunery.types import Conversation, Message

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SPELLED: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": "q", "output": "a"},
    "openai": {"messages": TURNS},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "prompt_completion": {"prompt": "q", "completion": "a"},
}


def written(folder: Path, *rows: dict[str, Any]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.mark.parametrize("name", SPELLED)
def test_a_weight_is_read_in_every_format(tmp_path: Path, name: str) -> None:
    row = SPELLED[name]
    examples = read([written(tmp_path, {**row, "weight": 0.25}, row, {**row, "weight": None})],
                    DataConfig())  # fmt: skip
    found = [each.weight for each in examples if isinstance(each, Conversation)]
    assert found == [0.25, None, None]
    assert not examples.warnings


def test_a_column_of_another_name_is_read_once_it_is_named(tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "a", "importance": 3}
    bad = {**row, "importance": -3}
    columns = {"weight": "importance"}
    (example,) = read([written(tmp_path, row)], DataConfig(columns=columns))
    assert isinstance(example, Conversation)
    assert example.weight == 3.0
    with pytest.raises(DataError, match="field importance: expected a weight from 0 to 1,000,000"):
        read([written(tmp_path, row, bad)], DataConfig(columns=columns))


def test_a_weight_that_is_not_named_among_named_columns_is_not_read(tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "a", "weight": "70 kg"}
    config = DataConfig(columns={"instruction": "instruction", "output": "output"})
    examples = read([written(tmp_path, row)], config)
    (example,) = examples
    assert isinstance(example, Conversation)
    assert example.weight is None
    assert [w.code for w in examples.warnings] == ["W717"]


@pytest.mark.parametrize("weight", [-1, -0.5, True, 1e30, "much", "1e999", "-2", [1], 10**400])
def test_a_weight_that_is_none_makes_the_row_unusable(tmp_path: Path, weight: Any) -> None:
    row = {"instruction": "q", "output": "a"}
    report = check(find(written(tmp_path, row, {**row, "weight": weight})), CheckOptions())
    assert report.bad == 1
    (problem,) = report.groups["E304"].examples
    assert str(problem.found).startswith(
        "field weight: expected a weight from 0 to 1,000,000, found "
    )


def test_a_cell_of_a_table_is_a_number_or_empty(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("instruction,output,weight\nq,a,0.5\nr,b,\ns,c, 2 \n")
    examples = read([str(file)], DataConfig())
    assert [each.weight for each in examples if isinstance(each, Conversation)] == [0.5, None, 2.0]


def test_rows_that_differ_in_their_weight_alone_are_no_duplicates(tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "a"}
    rows = [{**row, "weight": 1}, {**row, "weight": 2}, {**row, "weight": 2}]
    examples = read([written(tmp_path, *rows)], DataConfig(deduplicate=True))
    assert len(examples) == 2


def test_a_labelled_row_keeps_no_weight() -> None:
    assert "weight" not in FORMATS.get("unpaired").known
    row = {"instruction": "q", "output": "a", "label": True, "weight": 2}
    example: Any = FORMATS.get("unpaired").convert(row, RowOptions(), None)
    assert example.conversation.weight is None


def test_a_check_tells_that_weights_are_used(tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "a"}
    file = written(tmp_path, row, {**row, "weight": 1}, {**row, "weight": 70})
    report = check(find(file), CheckOptions())
    (note,) = [problem for problem in report.problems() if problem.code == "N156"]
    assert note.record == 3
    assert report.ok


def test_rows_of_weight_0_are_left_out_and_told() -> None:
    tokenizer = family("chatml")
    template = ChatTemplate.load(tokenizer, "chatml")
    asked = Conversation((Message("user", "q"), Message("assistant", "a")))
    rows = [replace(asked, weight=0.0), replace(asked, weight=2.0), asked]
    store = tokenize_all(rows, template, tokenizer, DataConfig(), cache=None)
    assert (len(store), store.filtered) == (2, {"weight 0": 1})
    assert store.group(0).facts == {"weight": 2.0}
    with pytest.raises(DataError, match="1 row: weight 0") as caught:
        tokenize_all(rows[:1], template, tokenizer, DataConfig(), cache=None)
    assert caught.value.code == "E719"


def test_a_check_refuses_rows_that_all_have_weight_0(tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "a"}
    report = check(find(written(tmp_path, {**row, "weight": 0}, {**row, "weight": 0.0})),
                   CheckOptions())  # fmt: skip
    assert report.refusal == "E719"
    (problem,) = report.groups["E719"].examples
    assert "weight" in str(problem.fix)
    assert "data." not in str(problem.fix)
    assert check(find(written(tmp_path, {**row, "weight": 0}, row)), CheckOptions()).ok


def test_the_advice_names_the_column_that_holds_the_weights(tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "a", "importance": 0}
    report = check(find(written(tmp_path, row)), CheckOptions(columns={"weight": "importance"}))
    assert "column importance" in str(report.groups["E719"].examples[0].fix)


@pytest.mark.parametrize(
    ("reasons", "named"),
    [
        ({WEIGHS_NOTHING: 2}, set[str]()),
        ({NO_TRAINED_TOKEN: 2}, {"data.loss_on"}),
        ({NO_ROOM: 1}, {"data.max_length", "data.too_long"}),
        ({NO_TRAINED_TOKEN: 1, DROPPED: 1}, {"data.loss_on", "data.max_length", "data.too_long"}),
        ({NO_DIFFERENCE: 1}, set[str]()),
    ],
)
def test_advice_names_only_settings_that_can_help(reasons: dict[str, int], named: set[str]) -> None:
    fix = str(way_out(reasons, row_kind_named("conversation"), {}))
    assert set(re.findall(r"data\.\w+", fix)) == named
    assert fix
    assert "data.loss_on" not in str(way_out(reasons, row_kind_named("pair"), {}))
