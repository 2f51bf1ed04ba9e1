"""Numbers where text is wanted: kept to the last digit, or refused by name; never Infinity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunery.config.data import DataConfig
from tunery.data.examples import read
from tunery.services import datasets

HUGE = "1" * 10_000
LONG = "1234567890" * 400
PRECISE = "0.1234567890123456789012345678901"


def write(folder: Path, row: str, kind: str) -> str:
    path = folder / f"rows.{kind}"
    path.write_text(f"[{row}]" if kind == "json" else row + "\n")
    return str(path)


@pytest.mark.parametrize("kind", ["jsonl", "json"])
@pytest.mark.parametrize("how", ["text", "json", None])
@pytest.mark.parametrize("number", [HUGE, f"-{HUGE}", "1e400", "-1e999"])
def test_a_number_out_of_range_is_refused_by_its_field(
    tmp_path: Path, kind: str, how: str | None, number: str
) -> None:
    name = write(tmp_path, f'{{"instruction": "q", "output": {number}}}', kind)
    config = DataConfig.model_validate({"coerce": {"output": how} if how else {}})
    report = datasets.check(name, config)
    assert [problem.code for problem in report.problems()] == ["E126"]
    assert report.refusal == "E126"
    assert str(report.problems()[0].found) == "field output: number out of range"


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_words_that_are_no_json_stay_refused(tmp_path: Path, word: str) -> None:
    name = write(tmp_path, f'{{"instruction": "q", "output": {word}}}', "jsonl")
    assert datasets.check(name, DataConfig(coerce={"output": "text"})).refusal == "E125"


@pytest.mark.parametrize("kind", ["jsonl", "json"])
@pytest.mark.parametrize(
    "number", [LONG, "12345678901234567890123", PRECISE, "0.10", "1e5", "-0.0", "42", "3.5", "1E-7"]
)
def test_every_digit_of_a_number_is_kept(tmp_path: Path, kind: str, number: str) -> None:
    name = write(tmp_path, f'{{"instruction": "q", "output": {number}}}', kind)
    (example,) = read([name], DataConfig(coerce={"output": "text"}))
    assert example.messages[-1].content == number  # pyright: ignore
    (example,) = read([name], DataConfig(coerce={"output": "json"}))
    assert example.messages[-1].content == number  # pyright: ignore


def test_every_digit_inside_of_an_object_is_kept(tmp_path: Path) -> None:
    inside = f'{{"b": [{PRECISE}, {LONG}, true, null], "a": "ü"}}'
    name = write(tmp_path, f'{{"instruction": "q", "output": {inside}}}', "jsonl")
    (example,) = read([name], DataConfig(coerce={"output": "json"}))
    wanted = f'{{"a": "ü", "b": [{PRECISE}, {LONG}, true, null]}}'
    assert example.messages[-1].content == wanted  # pyright: ignore


@pytest.mark.parametrize("number", [HUGE, "1e400", "NaN", "Infinity"])
@pytest.mark.parametrize("as_text", [False, True])
def test_arguments_of_a_call_are_refused_alike(tmp_path: Path, number: str, as_text: bool) -> None:
    arguments = f'{{"x": {number}}}'
    call = json.dumps(arguments) if as_text else arguments
    turns = (
        '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "", '
        f'"tool_calls": [{{"function": {{"name": "f", "arguments": {call}}}}}]}}]'
    )
    report = datasets.check(write(tmp_path, f'{{"messages": {turns}}}', "jsonl"), DataConfig())
    assert report.refusal in ("E126", "E412", "E125")
    assert report.good == 0


@pytest.mark.parametrize("cell", ['[{"role": "user", "content": 1e400}]', "[NaN]", f"[{HUGE}]"])
def test_numbers_of_a_parsed_cell_are_refused_alike(tmp_path: Path, cell: str) -> None:
    row = json.dumps({"messages": cell})
    for how in ("json", "python"):
        config = DataConfig.model_validate({"parse": {"messages": how}, "format": "openai"})
        assert datasets.check(write(tmp_path, row, "jsonl"), config).refusal == "E407"


def test_infinity_of_a_table_is_refused(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(
        pyarrow.table({"instruction": ["q", "r"], "output": [float("inf"), 1.5]}), path
    )
    report = datasets.check(str(path), DataConfig(coerce={"output": "text"}))
    assert [problem.code for problem in report.problems()] == ["E126"]
    assert report.bad == 1


def test_a_margin_that_no_number_holds_is_a_sentence(tmp_path: Path) -> None:
    row = f'{{"prompt": "q", "chosen": "a", "rejected": "b", "margin": {LONG}}}'
    report = datasets.check(write(tmp_path, row, "jsonl"), DataConfig())
    assert report.refusal == "E304"
    assert "field margin: expected a number" in str(report.problems()[0].found)


def test_a_number_too_long_for_python_is_our_sentence(tmp_path: Path) -> None:
    row = json.dumps({"instruction": "q", "output": "a", "n": 0}).replace("0}", "1" * 10_000 + "}")
    file = tmp_path / "one.json"
    file.write_text(row)
    report = datasets.check(str(file), DataConfig())
    assert report.good == 0
    (problem,) = report.problems()
    assert problem.code == "E126"
    assert problem.column == row.index("111") + 1
    assert str(problem.found) == "a number has more than 4000 digits"


def test_a_bad_row_is_not_hidden_by_a_warning_of_the_same_code(tmp_path: Path) -> None:
    rows = [
        f'{{"prompt": "a", "completion": "b", "n": {HUGE}}}',
        '{"prompt": "c", "completion": "b", "n": 1}',
        f'{{"prompt": "d", "completion": {HUGE}}}',
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(rows))
    report = datasets.check(str(file), DataConfig())
    assert (report.bad, report.refusal) == (1, "E126")
    assert [(p.severity, p.record, p.count) for p in report.problems() if p.code == "E126"] == [
        ("stop", 3, 1),
        ("warn", 1, 1),
    ]
