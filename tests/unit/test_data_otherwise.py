"""Rows that a method takes and that are not what it is for are told what becomes of them (D10)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import CheckOptions, check

TALK = {"instruction": "q", "output": "a"}
TEXT = {"text": "words of a book"}


@pytest.mark.parametrize(
    ("row", "wanted", "code"),
    [
        (TALK, "text", "W729"),
        (TEXT, "conversation", "W730"),
        (TALK, "conversation", None),
        (TEXT, "text", None),
    ],
)
def test_what_is_trained_otherwise_is_said_by_check_and_run(
    tmp_path: Path, row: dict[str, str], wanted: str, code: str | None
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(row) + "\n") * 2)
    report = check(find(str(path)), CheckOptions(wanted=wanted))
    told = {problem.code for problem in read([str(path)], DataConfig(), wanted=wanted).warnings}
    assert report.ok
    assert ({code} if code else set()) == {"W729", "W730"} & set(report.groups)
    assert {"W729", "W730"} & told == ({code} if code else set())
    if code:
        quiet = DataConfig(accept=[code])
        assert not {"W729", "W730"} & {
            problem.code for problem in read([str(path)], quiet, wanted=wanted).warnings
        }


def test_a_conversation_of_which_every_token_is_trained_is_no_mismatch(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(TALK) + "\n") * 2)
    report = check(find(str(path)), CheckOptions(wanted="text"))
    assert "--data.loss_on all" in str(report.groups["W729"].examples[0].fix)
    report = check(find(str(path)), CheckOptions(wanted="text", loss_on="all"))
    assert "W729" not in report.groups
