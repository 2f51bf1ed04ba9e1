"""What stands beside the texts is read with its meaning, or the row is refused by name (D4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunery.data.catalog import find
from tunery.data.lint import CheckOptions, check
from tunery.data.lint.report import Report

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "good"}
BAD = {"role": "assistant", "content": "bad"}
ROW = {"messages": [USER, ANSWER]}
ALPACA = {"instruction": "q", "output": "a"}


def checked(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Report:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return check(find(str(file)), CheckOptions(**options))


def first(report: Report, code: str) -> str:
    return str(report.groups[code].examples[0].found)


@pytest.mark.parametrize("column", ["images", "image", "videos", "audio"])
def test_pictures_and_sound_refuse_their_row_wherever_it_stands(
    tmp_path: Path, column: str
) -> None:
    rows: list[dict[str, Any]] = [{**ALPACA, "instruction": f"q{i}"} for i in range(60)]
    rows[50] |= {column: ["a.png", "b.png"]}
    rows[51] |= {column: []}
    rows[52] |= {column: None}
    report = checked(tmp_path, rows)
    assert (report.bad, report.good) == (1, 59)
    assert first(report, "E600") == f"the row has {column} (2); only text can be trained on"
    assert report.groups["E600"].examples[0].record == 51


def test_named_columns_leave_pictures_out_unless_the_text_speaks_of_them(tmp_path: Path) -> None:
    named = {"format": "alpaca", "columns": {"instruction": "instruction"}}
    row = {**ALPACA, "images": ["a.png"]}
    report = checked(tmp_path, [row], **named)
    assert report.ok
    assert first(report, "W725") == "not used: images"
    report = checked(tmp_path, [row | {"instruction": "<image>what is this?"}], **named)
    assert list(report.groups) == ["E600"]


def test_a_mark_of_a_picture_without_one_is_a_warning(tmp_path: Path) -> None:
    report = checked(tmp_path, [ALPACA | {"instruction": "<image>what is this?"}])
    assert "<image> looks like a control token" in first(report, "W707")


def test_variables_of_a_template_refuse_their_row(tmp_path: Path) -> None:
    kwargs = {"chat_template_kwargs": {"enable_thinking": False}}
    report = checked(tmp_path, [ROW | kwargs, ROW | {"chat_template_kwargs": {}}])
    assert report.bad == 1
    assert "template variables cannot be set per row" in first(report, "E421")


@pytest.mark.parametrize("column", ["loss_mask", "mask", "train_mask", "assistant_masks"])
def test_a_mask_of_a_whole_row_refuses_it_unless_all_is_trained(
    tmp_path: Path, column: str
) -> None:
    report = checked(tmp_path, [ROW | {column: [0, 1]}, ROW | {column: [1, 1]}, ROW])
    assert (report.bad, report.groups["E420"].examples[0].record) == (1, 1)
    assert column in first(report, "E420")
    named = {"format": "openai", "columns": {"messages": "messages"}}
    assert checked(tmp_path, [ROW | {column: [0, 1]}], **named).ok


@pytest.mark.parametrize("label", [0, 1, True, False, "0", "true", 0.0])
def test_a_label_of_two_values_is_a_judgement(tmp_path: Path, label: Any) -> None:
    assert checked(tmp_path, [ALPACA | {"label": label}]).format == "unpaired"


def test_labels_of_more_classes_are_no_judgement(tmp_path: Path) -> None:
    report = checked(tmp_path, [ALPACA | {"label": i} for i in (0, 1, 0, 1, 4)])
    assert (report.format, first(report, "W725")) == ("alpaca", "not used: label")


@pytest.mark.parametrize("tag", [{"label": False}, {"kto_tag": False}, {"kto_tag": 0}])
def test_an_answer_marked_bad_is_not_trained_as_a_good_one(
    tmp_path: Path, tag: dict[str, Any]
) -> None:
    good = dict.fromkeys(tag, True)
    report = checked(tmp_path, [ROW | good, ROW | tag], format="openai")
    assert report.bad == 1
    assert "is false: this answer would be trained on as a good one" in first(report, "E422")
    assert checked(tmp_path, [ROW | good, ROW | tag], format="unpaired").bad == 0


@pytest.mark.parametrize(
    "row",
    [
        {**ROW, "rejected_response": "bad"},
        {**ROW, "rejected_messages": [USER, BAD]},
        {"query": "q", "response": "good", "rejected_response": "bad"},
        {
            "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "good"}],
            "rejected_response": "bad",
        },
    ],
)
def test_rejected_answers_make_a_pair(tmp_path: Path, row: dict[str, Any]) -> None:
    report = checked(tmp_path, [row])
    assert (report.format, report.bad) == ("preference", 0)
    assert "W725" not in report.groups


def test_rejected_answers_that_a_chosen_format_does_not_read_are_a_warning(tmp_path: Path) -> None:
    report = checked(tmp_path, [{**ROW, "rejected_response": "bad"}], format="openai")
    assert first(report, "W720").startswith("not used: rejected_response;")


def test_query_and_response_are_a_prompt_and_its_completion(tmp_path: Path) -> None:
    report = checked(tmp_path, [{"query": "q", "response": "a", "system": "s"}])
    assert (report.format, report.ok, list(report.groups)) == ("prompt_completion", True, [])
