"""`tunery data` as it is typed: words for people, one JSON value for machines, exit 0 or 2."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tunery
from tunery.cli.main import main
from tunery.data.catalog import BUILTIN
from tunery.data.sources.probe import FOREIGN

GOOD = '{"instruction": "q", "output": "a"}\n{"instruction": "r", "output": "b"}\n'


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "rows.jsonl"
    path.write_text(GOOD)
    return path


def as_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_good_file_is_said_to_be_good(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "rows.jsonl"]) == 0
    assert capsys.readouterr().out == "rows.jsonl: 2 rows, format alpaca: a run can start.\n"


@pytest.mark.parametrize("columns", ["prompt", "prompt=", "=a", "", "instruction=a,b"])
def test_a_column_without_its_pair_is_refused(
    rows: Path, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    assert main(["data", "check", "rows.jsonl", "--columns", columns]) == 2
    told = capsys.readouterr().err
    assert "expected ours=theirs" in told
    assert "--columns instruction=question,output=answer" in told


def test_columns_may_be_an_object(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows.write_text('{"q": "a", "t": "b"}\n')
    columns = '{"instruction": "q", "output": "t"}'
    assert main(["data", "check", "rows.jsonl", "--format", "alpaca", "--columns", columns]) == 0


def test_a_broken_line_is_shown_as_the_design_page_shows_it(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_text(GOOD + '{"instruction": "q4", "output": "a4"\n')
    assert main(["data", "check", "rows.jsonl"]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "E106  rows.jsonl:3:37  (record 3)   1 row",
        "      the object is not closed: expected , or }",
        '      3 | {"instruction": "q4", "output": "a4"',
        "        |                                     ^",
        "      fix: Add }.",
        "2 of 3 rows are OK.",
        "A run can set the other rows aside: --data.on_bad_rows quarantine "
        "--data.max_bad_share 0.34",
    ]


def test_rows_in_another_encoding_are_to_be_read_again_not_set_aside(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_bytes(
        GOOD.encode() + '{"instruction": "Qué hora es?", "output": "a"}\n'.encode("cp1252")
    )
    assert main(["data", "check", "rows.jsonl"]) == 2
    said = capsys.readouterr().out
    assert "--data.encoding cp1252" in said
    assert "2 of 3 rows are OK." in said
    assert "quarantine" not in said


def test_several_datasets_are_checked_one_after_another(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my rows.csv").write_text("instruction,output\nq,a\n")
    (tmp_path / "bad.jsonl").write_text('{"instruction": "q"}\n')
    words = ["rows.jsonl", "--data.format", "alpaca", "my rows.csv", "rows.jsonl"]
    assert main(["data", "check", *words]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "rows.jsonl: 2 rows, format alpaca: a run can start.",
        "my rows.csv: 1 row, format alpaca: a run can start.",
    ]
    assert main(["data", "check", "rows.jsonl", "bad.jsonl", "--report", "all.json"]) == 2
    assert "rows.jsonl: 2 rows" in capsys.readouterr().out
    assert main(["data", "check", "rows.jsonl", "bad.jsonl", "--json"]) == 2
    found = as_json(capsys)["datasets"]
    assert [(each["dataset"], each["can_start"]) for each in found] == [
        ("rows.jsonl", True),
        ("bad.jsonl", False),
    ]
    assert json.loads(Path("all.json").read_text())["datasets"] == found


def test_settings_in_a_file_still_count_in_a_check(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.yaml").write_text("data:\n  format: alpaca\n  max_rows: x\n")
    assert main(["data", "check", "rows.jsonl", "s.yaml"]) == 2
    assert "s.yaml line 3" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["train"], ["plan"], ["data", "preview", "rows.jsonl"]])
def test_rows_in_place_of_settings_are_told_how_they_are_named(
    rows: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows.rename("my rows.jsonl")
    assert main([*command, "my rows.jsonl"]) == 2
    assert "--data.train 'my rows.jsonl'" in capsys.readouterr().err


def test_json_of_a_check_has_rows_ok_and_problems_and_nothing_else_is_on_stdout(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_text(GOOD + '{"instruction": "q"}\n')
    assert main(["data", "check", "rows.jsonl", "--json", "--lang", "zh"]) == 2
    found = as_json(capsys)
    assert (found["rows"], found["ok"], found["rows_ok"], found["rows_bad"]) == (3, False, 2, 1)
    (problem,) = found["problems"]
    assert problem == {
        "code": "E301",
        "level": "stop",
        "file": "rows.jsonl",
        "line": 3,
        "column": None,
        "record": 3,
        "field": "output",
        "found": "field output is missing",
        "fix": "Add output, or remove the row.",
        "count": 1,
    }


def test_the_report_is_written_beside_what_is_shown(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "rows.jsonl", "--report", "out/report.json"]) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["rows"] == 2


def test_settings_of_a_run_change_how_a_file_is_checked(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_text('{"frage": "q", "antwort": "a"}\n' * 2)
    assert main(["data", "check", "rows.jsonl"]) == 2
    assert "no known format: rows have frage, antwort" in capsys.readouterr().out
    columns = ["--columns", "instruction=frage,output=antwort"]
    assert main(["data", "check", "rows.jsonl", "--format", "alpaca", *columns]) == 0
    flags = ["--data.columns.instruction", "frage", "--data.columns.output", "antwort"]
    capsys.readouterr()
    assert main(["data", "check", "rows.jsonl", "--data.format", "alpaca", *flags, "--json"]) == 0
    assert [problem["code"] for problem in as_json(capsys)["problems"]] == ["W704"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "nothing"], "not found"),
        (["check", "nothing.jsonl"], "no such file"),
        (["check", "rows.jsonl", "--format", "alpacca"], "Did you mean alpaca?"),
        (["check", "rows.jsonl", "--fromat", "alpaca"], "--format"),
        (["check", "rows.jsonl", "--data.encoding", "utf-99"], "unknown encoding"),
        (["check", "rows.jsonl", "--catalog", "."], "has no dataset_info.json"),
        (["add", "identity", "rows.jsonl"], "built-in"),
        (["remove", "nothing"], "no such dataset"),
        (["check"], "a value is missing"),
    ],
)
def test_a_wrong_request_is_a_sentence_and_exit_2(
    rows: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["data", *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_add_list_and_remove(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "add", "mine", "rows.jsonl"]) == 0
    assert "mine: 2 rows, format alpaca." in capsys.readouterr().out
    assert main(["data", "list", "--json"]) == 0
    listed = {each["name"]: each for each in as_json(capsys)}
    assert set(listed) == {*BUILTIN, "mine"}
    assert (listed["mine"]["rows"], listed["mine"]["source"]) == (2, "added")
    assert listed["identity"]["rows"] == 90
    assert main(["data", "list"]) == 0
    # A long path is folded into its column: what stands in it is the path, whole.
    assert str(rows) in re.sub(r"\s+", "", capsys.readouterr().out)
    assert main(["data", "remove", "mine", "--json"]) == 0
    assert as_json(capsys) == {"name": "mine", "path": str(rows), "deleted": False}


def test_a_name_with_control_characters_is_shown_escaped(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("odd\x1b[31m\n.jsonl").write_text('{"text": "a"}\n{"text": 1}\n')
    assert main(["data", "check", "odd\x1b[31m\n.jsonl"]) == 2
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "odd<U+001B>[31m\\n.jsonl:2" in out


def test_a_check_in_chinese_is_chinese(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows.write_text(GOOD + '{"instruction": "q", "output": [1]}\n')
    assert main(["data", "check", "rows.jsonl", "--lang", "zh"]) == 2
    out = capsys.readouterr().out
    assert "字段 output：应为文本，却是有 1 项的列表" in out
    assert "办法：" in out


def phrases() -> Iterator[str]:
    """Every sentence of the data side that a person may read."""
    root = Path(tunery.__file__).parent
    for file in sorted((root / "data").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                for each in ast.walk(node.args[0]):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        yield each.value


def test_every_phrase_of_the_checker_has_a_translation_with_the_same_places() -> None:
    parts = Path(tunery.__file__).parent / "locales" / "parts"
    chinese: dict[str, str] = {}
    for part in parts.glob("*.json"):
        chinese.update(json.loads(part.read_text(encoding="utf-8")))
    wanted = {text for text in phrases() if text.strip()} | {what for _, what in FOREIGN}
    assert sorted(wanted - chinese.keys()) == []
    places = re.compile(r"(?<!\{)\{(\w+)")
    different = [
        text for text in wanted if set(places.findall(text)) != set(places.findall(chinese[text]))
    ]
    assert different == []


def test_a_row_that_cannot_be_shown_leads_to_its_check(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_text('{"q": "a", "t": "b"}\n{"q": "a", "t": ""}\n')
    flags = ["--data.format", "alpaca", "--data.columns.instruction", "q"]
    flags += ["--data.columns.output", "t"]
    assert main(["data", "preview", "rows.jsonl", "--row", "2", *flags]) == 2
    told = capsys.readouterr().err
    (fix,) = (line for line in told.splitlines() if "See what is wrong" in line)
    words = shlex.split(fix.partition("tunery ")[2])
    assert main(words) == 2
    assert "E302  rows.jsonl:2" in capsys.readouterr().out
