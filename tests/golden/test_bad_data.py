"""Every input of the table gives exactly its code, level, file, line and field; its cure works."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.golden.bad_data_cases import CASES, Case

from tunery.data.catalog import find
from tunery.data.lint import CheckOptions, Report, check
from tunery.data.lint.words import report_text


def write(case: Case, folder: Path) -> Path:
    path = folder / case.file
    if isinstance(case.content, bytes):
        path.write_bytes(case.content)
    else:
        case.content(path)
    return path


def checked(path: Path, options: dict[str, Any]) -> Report:
    dataset = find(str(path), fmt=options.get("format"), columns=options.get("columns"))
    return check(dataset, CheckOptions(**options))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_bad_input_gets_its_code_level_line_and_field(case: Case, tmp_path: Path) -> None:
    path = write(case, tmp_path)
    started = time.process_time()
    report = checked(path, case.options)
    assert time.process_time() - started < 2
    problems = report.as_dict()["problems"]
    first = {problem["code"]: problem for problem in reversed(problems)}
    assert {(c, p["level"], p["line"], p["field"]) for c, p in first.items()} == set(case.expected)
    assert all(problem["file"] == str(path) for problem in problems)
    assert report.ok == all(level != "stop" for _, level, _, _ in case.expected)
    assert report.rows == report.good + report.bad + report.duplicates
    if case.rows is not None:
        assert report.rows == case.rows
    said = " ".join(f"{problem['found']} {problem['fix']}" for problem in problems)
    for word in case.words:
        assert word in said
    text = report_text(report)
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.cure is not None], ids=lambda case: case.id
)
def test_the_setting_that_a_fix_names_cures_it(case: Case, tmp_path: Path) -> None:
    report = checked(write(case, tmp_path), {**case.options, **(case.cure or {})})
    assert report.ok, report_text(report)
    assert report.rows == report.good > 0


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.jsonl"
    path.write_text('{"text": "a"}\n')
    path.chmod(0)
    assert [problem.code for problem in checked(path, {}).problems()] == ["E190"]


def test_at_most_five_examples_of_a_kind_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text('{"instruction": "q", "output": "a"}\n' + '{"instruction": "q"}\n' * 40)
    problems = [p for p in checked(path, {}).as_dict()["problems"] if p["code"] == "E301"]
    assert len(problems) == 5
    assert {problem["count"] for problem in problems} == {40}
    assert [problem["line"] for problem in problems] == [2, 3, 4, 5, 6]


def test_a_broken_line_is_shown_with_a_caret_under_the_place(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"\n')
    lines = report_text(checked(path, {})).splitlines()
    shown = next(line for line in lines if '2 | {"text": "b"' in line)
    assert lines[lines.index(shown) + 1].index("^") == len(shown)
