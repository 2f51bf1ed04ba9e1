"""Cells of tables mean what they meant before they were stored (D6, D9, B7)."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import CheckOptions, check
from tunery.data.lint.report import Report


def stored(folder: Path, rows: list[dict[str, Any]], kind: str = "parquet") -> str:
    table = pa.Table.from_pylist(rows)
    file = folder / f"rows.{kind}"
    if kind == "parquet":
        parquet.write_table(table, file)
    else:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    return str(file)


def checked(name: str, **options: Any) -> Report:
    return check(find(name), CheckOptions(**options))


def called(name: str, arguments: dict[str, Any], **schema: Any) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
        "tools": [{"name": name, "parameters": {"type": "object", "properties": schema}}],
    }


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_keys_that_unified_structs_fill_with_null_are_absent(tmp_path: Path, kind: str) -> None:
    rows = [
        called("weather", {"city": "Rome"}, city={"type": "string"}),
        called("clock", {"zone": "UTC"}, zone={"type": "string"}),
    ]
    name = stored(tmp_path, rows, kind)
    examples = read([name], DataConfig())
    assert [e.messages[1].tool_calls[0].arguments for e in examples] == [
        {"city": "Rome"},
        {"zone": "UTC"},
    ]
    assert [e.tools[0]["parameters"]["properties"] for e in examples] == [
        {"city": {"type": "string"}},
        {"zone": {"type": "string"}},
    ]
    notes = [str(p.found) for p in checked(name).problems() if p.code == "N151"]
    assert notes == ["keys without a value are treated as absent: messages, tools"]


def test_null_in_json_stays_what_it_is(tmp_path: Path) -> None:
    import json

    row = called("weather", {"city": None})
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    example = read([str(file)], DataConfig())[0]
    assert example.messages[1].tool_calls[0].arguments == {"city": None}


def test_nan_is_a_missing_value_also_where_numbers_become_text(tmp_path: Path) -> None:
    nan = float("nan")
    rows = [{"instruction": "q", "input": x, "output": "a"} for x in (nan, 1.5)]
    name = stored(tmp_path, rows)
    report = checked(name)
    assert (report.bad, report.groups["E304"].examples[0].record) == (1, 2)
    examples = read([name], DataConfig(coerce={"input": "text"}))
    assert [e.messages[0].content for e in examples] == ["q", "q\n1.5"]


def test_bytes_that_are_text_are_read_as_text(tmp_path: Path) -> None:
    name = stored(tmp_path, [{"instruction": "été".encode(), "output": b"a"}])
    assert [m.content for m in read([name], DataConfig())[0].messages] == ["été", "a"]
    found = str(checked(name).groups["N152"].examples[0].found)
    assert found == "bytes are decoded as UTF-8 text: instruction, output"


def test_other_bytes_are_refused_with_what_helps(tmp_path: Path) -> None:
    name = stored(tmp_path, [{"instruction": b"\xff\xfe\x00", "output": "a"}])
    problem = checked(name).groups["E304"].examples[0]
    assert str(problem.found) == "field instruction: expected text, found 3 bytes"
    assert "UTF-8" in str(problem.fix)
    assert "quotes" not in str(problem.fix)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_words_for_a_missing_value_are_a_warning_in_tables(tmp_path: Path, kind: str) -> None:
    rows = [("q1", "NaN", "a1"), ("q2", "", "N/A"), ("q3", "null", "None"), ("q4", "x", "a")]
    if kind == "csv":
        file = tmp_path / "rows.csv"
        file.write_text("instruction,input,output\n" + "".join(",".join(r) + "\n" for r in rows))
        name = str(file)
    else:
        columns = ("instruction", "input", "output")
        name = stored(tmp_path, [dict(zip(columns, row, strict=True)) for row in rows])
    group = checked(name).groups["W714"]
    assert group.count == 3
    assert group.examples[0].record == 1
    assert str(group.examples[0].found).endswith("N/A ×1, NaN ×1, None ×1, null ×1")
    assert "W714" not in checked(name, accept=("W714",)).groups


def test_such_a_word_in_json_is_a_word(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"instruction": "q", "output": "None"}\n')
    assert checked(str(file)).problems() == []


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("value", "found", "text"),
    [
        (datetime(2026, 1, 2, 3, 4), "a date or time", "2026-01-02 03:04:00"),
        (date(2026, 1, 2), "a date or time", "2026-01-02"),
        (Decimal("1.50"), "number 1.50", "1.50"),
    ],
)
def test_dates_and_decimals_become_text_by_the_advice(
    tmp_path: Path, kind: str, value: Any, found: str, text: str
) -> None:
    name = stored(tmp_path, [{"prompt": "q", "completion": value}], kind)
    problem = checked(name).groups["E304"].examples[0]
    assert str(problem.found) == f"field completion: expected text, found {found}"
    assert str(problem.fix) == "Write it as text, or set --data.coerce.completion text."
    (example,) = read([name], DataConfig(coerce={"completion": "text"}))
    assert example.messages[1].content == text  # pyright: ignore
    (example,) = read([name], DataConfig(coerce={"completion": "json"}))
    assert text in example.messages[1].content  # pyright: ignore


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_map_is_an_object(tmp_path: Path, kind: str) -> None:
    answers = pa.array([[("b", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()))
    table = pa.table({"instruction": ["q"], "output": answers})
    file = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        parquet.write_table(table, file)
    else:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    problem = checked(str(file)).groups["E304"].examples[0]
    assert str(problem.found) == "field output: expected text, found an object with b, a"
    (example,) = read([str(file)], DataConfig(coerce={"output": "json"}))
    assert example.messages[1].content == '{"a": 2, "b": 1}'  # pyright: ignore
