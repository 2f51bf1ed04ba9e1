"""JSON that is not one row a line: read where it is certain, and said in one sentence (B6)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tunery import i18n
from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import Report, check
from tunery.services.datasets._rows import read_page

ROWS = [{"instruction": f"q{i}", "output": f"a{i}"} for i in range(12)]


def checked(path: Path) -> Report:
    return check(find(str(path)))


def codes(report: Report) -> list[str]:
    return [problem.code for problem in report.problems()]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("between", ["\n", "\n\n", " "])
def test_objects_over_several_lines_are_read_one_after_another(
    name: str, between: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(between.join(json.dumps(row, indent=2) for row in ROWS) + "\n")
    report = checked(path)
    assert (report.ok, report.rows, codes(report)) == (True, 12, ["N118"])
    examples = read([str(path)], DataConfig())
    assert [examples.raw(i) for i in range(12)] == ROWS
    lines = 4 * 2 + 1 + 2 * (between == "\n\n")
    assert between == " " or examples.ref(2).line == lines


def test_a_fault_among_objects_over_several_lines_is_one_finding_at_its_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    pieces = [json.dumps(row, indent=2) for row in ROWS]
    pieces[5] = pieces[5].replace(",\n", "\n")
    path.write_text("\n".join(pieces))
    report = checked(path)
    assert codes(report) == ["E106", "N118"]
    assert report.problems()[0].line == 5 * 4 + 3


def test_a_broken_first_line_stays_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = "".join(json.dumps(row) + "\n" for row in ROWS)
    path.write_text('{"instruction": "q"\n' + good)
    report = checked(path)
    assert (report.rows, report.good, codes(report)) == (13, 12, ["E106"])


def index(rows: list[dict[str, str]]) -> Any:
    return {str(i): row for i, row in enumerate(rows)}


def by_column(rows: list[dict[str, str]]) -> Any:
    return {name: {str(i): row[name] for i, row in enumerate(rows)} for name in rows[0]}


def split(rows: list[dict[str, str]]) -> Any:
    values = [list(row.values()) for row in rows]
    return {"columns": list(rows[0]), "index": list(range(len(rows))), "data": values}


def lists(rows: list[dict[str, str]]) -> Any:
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("made", [index, by_column, split, lists])
def test_a_table_in_one_object_is_read_as_rows(
    made: Any, indent: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(made(ROWS), indent=indent))
    report = checked(path)
    assert (report.ok, report.rows, codes(report)) == (True, 12, ["N120"])
    examples = read([str(path)], DataConfig())
    assert [examples.raw(i) for i in range(12)] == ROWS
    assert read_page(str(path), DataConfig(), offset=11)["rows"][0]["values"] == (ROWS[11])


def test_rows_by_their_number_are_read_from_a_jsonl_file_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(index(ROWS)))
    assert checked(path).rows == 12


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"instruction": "q", "output": "a"},
        {"instruction": "q", "output": "a", "history": [["h", "i"]]},
    ],
)
def test_a_single_row_is_no_table(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    report = checked(path)
    assert (report.ok, report.rows) == (True, 1)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_zero_bytes_at_the_end_are_left_out_and_said(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    content = {
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
        "a.json": json.dumps(ROWS),
        "a.csv": "instruction,output\n" + "".join(",".join(r.values()) + "\n" for r in ROWS),
    }[name]
    path.write_bytes(content.encode() + bytes(5_000))
    report = checked(path)
    assert (report.ok, report.rows, codes(report)) == (True, 12, ["N119"])
    assert str(report.problems()[0].found).startswith("ignored 5000 zero bytes")
    assert len(read([str(path)], DataConfig())) == 12


def test_a_file_of_zero_bytes_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(bytes(3_000_000))
    report = checked(path)
    assert codes(report) == ["E101"]
    assert "the file contains only zero bytes" in str(report.problems()[0].found)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize(
    ("text", "code"),
    [("".join(json.dumps(row) + "\n" for row in ROWS), "N114"), (json.dumps(ROWS), "N113")],
    ids=["lines", "array"],
)
def test_json_in_a_table_is_read_as_json(name: str, text: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    report = checked(path)
    assert (report.ok, report.rows, codes(report)) == (True, 12, [code])
    examples = read([str(path)], DataConfig())
    assert examples.raw(3) == ROWS[3]


@pytest.mark.parametrize(
    ("name", "text", "found", "fix"),
    [
        ("a.jsonl", "prompt,completion\na,b\n", "CSV with the columns prompt, completion", ".csv."),
        ("a.json", "prompt\tcompletion\na\tb\n", "TSV with the columns", ".tsv."),
        ("a.jsonl", "prompt;completion\na;b\n", "CSV with the columns", ".csv."),
        ("a.yaml", "- prompt: a\n  completion: b\n", "YAML", "json.dumps"),
        ("a.jsonl", "---\nprompt: a\n", "YAML", "json.dumps"),
    ],
)
def test_a_table_or_yaml_in_json_is_one_sentence(
    name: str, text: str, found: str, fix: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    (problem,) = checked(path).problems()
    assert problem.code == "E128"
    assert found in str(problem.found)
    assert fix in str(problem.fix)


@pytest.mark.parametrize(
    "text",
    ["Hello, world\nmore\n", "// a, b\n", "one word\n", "a,b\n" + json.dumps(ROWS[0]), "12\n13\n"],
)
def test_other_lines_are_bad_rows_as_before(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    assert "E128" not in codes(checked(path))


def test_a_table_whose_cells_are_json_stays_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text\n"{""a"": 1}"\n')
    report = checked(path)
    assert (report.ok, report.format) == (True, "text")


def test_what_a_parser_says_in_english_is_said_in_our_words(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('instruction,output\n"a" b,c\n')
    (problem,) = checked(path).problems()
    assert (problem.code, str(problem.found)) == (
        "E141",
        "text follows the closing quote of a cell",
    )
    path = tmp_path / "a.jsonl"
    expected = {
        "{a: 1}": "expected a key in double quotes, found 'a: 1}'",
        '{"a" 1}': "expected : after the key, found '1}'",
        '{"a": 1 "b": 2}': "expected , or a closing bracket, found '\"b\": 2}'",
        '{"a": x}': "expected a value, found 'x}'",
    }
    for line, found in expected.items():
        path.write_text(line + "\n" + json.dumps(ROWS[0]) + "\n")
        (problem,) = checked(path).problems()
        assert (problem.code, str(problem.found)) == ("E106", found)
        with i18n.speaking("zh"):
            assert not re.search("expect|bracket|quotes", problem.found.local())
