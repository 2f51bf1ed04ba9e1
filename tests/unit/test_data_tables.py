"""Tables: what separates their cells (B2), how wide they may be (V9); how large a record (B5)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import CheckOptions, Report, check
from tunery.errors import ConfigError
from tunery.services import datasets
from tunery.types import Conversation


def checked(path: Path, **options: Any) -> Report:
    return check(find(str(path)), CheckOptions(**options))


def codes(report: Report) -> list[str]:
    return [problem.code for problem in report.problems()]


@pytest.mark.parametrize(
    ("name", "mark"), [("a.csv", ";"), ("a.csv", "\t"), ("a.csv", "|"), ("a.tsv", ",")]
)
def test_the_delimiter_of_a_table_is_found_and_said(name: str, mark: str, tmp_path: Path) -> None:
    path = tmp_path / name
    rows = [["instruction", "output"], ["q1", "a1"], ["q2", '"two\nlines"'], ["q3", "a3"]]
    path.write_text("".join(mark.join(row) + "\n" for row in rows))
    report = checked(path)
    assert (report.ok, report.rows) == (True, 3)
    assert codes(report) == ["N117"]
    word = "tab" if mark == "\t" else mark
    assert str(report.problems()[0].found) == f"cells are separated by {word}"
    example = read([str(path)], DataConfig())[1]
    assert isinstance(example, Conversation)
    assert example.messages[1].content == "two\nlines"


def test_commas_in_the_texts_do_not_hide_another_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("instruction;output\nq1;a1, with comma\nq2;a2\n")
    assert codes(checked(path)) == ["N117"]


def test_other_marks_in_the_texts_do_not_hide_the_comma(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("instruction,output\nq;1|x,a;1|x\nq;2|x,a;2|x\n")
    assert codes(checked(path)) == []
    path.write_text("text\nfirst; second\nthird\n")
    report = checked(path)
    assert (codes(report), report.format, report.rows) == ([], "text", 2)


def test_a_delimiter_that_a_person_sets_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("instruction~output\nq and more~a\n")
    assert codes(checked(path)) == ["E143"]
    assert codes(checked(path, delimiter="~")) == []
    path.write_text("instruction\toutput\nq\ta\n")
    assert codes(checked(path, delimiter="tab")) == codes(checked(path, delimiter="\\t")) == []


@pytest.mark.parametrize("given", ["", ";;", '"', "\n"])
def test_what_cannot_separate_cells_is_refused(given: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("instruction,output\nq,a\n")
    with pytest.raises(ConfigError, match=r"data\.delimiter"):
        checked(path, delimiter=given)


def test_the_line_by_which_excel_declares_its_delimiter_is_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"sep=;\r\ninstruction;output\r\nq;a\r\nr\r\n")
    report = checked(path)
    assert report.rows == 2
    assert [(p.code, p.line) for p in report.problems()] == [("E140", 4), ("N117", None)]


def test_a_delimiter_is_remembered_with_the_name(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("instruction~output\nq~a\n")
    entry = datasets.add("mine", str(path), DataConfig(delimiter="~"))
    assert entry["reading"]["delimiter"] == "~"
    assert len(read(["mine"], DataConfig())) == 1


def test_a_header_of_very_many_columns_is_a_limit_with_its_setting(tmp_path: Path) -> None:
    path, count = tmp_path / "wide.csv", 50_000
    names = ["instruction", "output", *(f"c{i}" for i in range(count - 2))]
    path.write_text(",".join(names) + "\n" + ",".join("x" * count) + "\n")
    started = time.process_time()
    report = checked(path)
    assert codes(report) == ["E145"]
    fix = str(report.problems()[0].fix)
    found = re.search(r"--data\.max_columns (\d+)", fix)
    assert found is not None
    report = checked(path, max_columns=int(found[1]))
    assert (report.ok, report.rows) == (True, 1)
    assert time.process_time() - started < 10


def test_a_parquet_file_of_too_many_columns_is_the_same_limit(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "wide.parquet"
    parquet.write_table(pyarrow.table({f"c{i}": ["x"] for i in range(20)}), path)
    assert codes(checked(path, max_columns=19)) == ["E145"]


ROW = {"instruction": "q", "input": "word " * 600_000, "output": "a"}
SMALL = {"instruction": "q2", "input": "", "output": "a2"}


def lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROW, SMALL)))


def an_array(path: Path) -> None:
    path.write_text(json.dumps([ROW, SMALL]))


def below_a_key(path: Path) -> None:
    path.write_text(json.dumps({"data": [ROW, SMALL]}))


def table(path: Path) -> None:
    path.write_text(
        "".join(",".join(row.values()) + "\n" for row in ({key: key for key in ROW}, ROW, SMALL))
    )


def quoted(path: Path) -> None:
    text = "a line\n" * 430_000
    path.write_text(f'instruction,input,output\nq,"{text}",a\nq2,,a2\n')


def columnar(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist([ROW, SMALL]), path)


def arrow(path: Path) -> None:
    import pyarrow

    made = pyarrow.Table.from_pylist([ROW, SMALL])
    with pyarrow.ipc.new_file(str(path), made.schema) as out:
        out.write_table(made)


@pytest.mark.parametrize(
    ("name", "make", "options"),
    [
        ("a.jsonl", lines, {}),
        ("a.json", an_array, {}),
        ("b.json", below_a_key, {"records_at": "data"}),
        ("a.csv", table, {}),
        ("b.csv", quoted, {}),
        ("a.parquet", columnar, {}),
        ("a.arrow", arrow, {}),
    ],
)
def test_a_large_record_is_one_limit_with_one_setting_in_every_kind_of_file(
    name: str, make: Callable[[Path], None], options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / name
    make(path)
    report = checked(path, **options)
    assert (report.ok, report.rows, codes(report)) == (True, 2, [])
    report = checked(path, **options, max_record_mb=1)
    assert codes(report) == ["E127"]
    found = re.search(r"--data\.max_record_mb (\d+)", str(report.problems()[0].fix))
    assert found is not None
    report = checked(path, **options, max_record_mb=int(found[1]))
    assert (report.ok, report.rows) == (True, 2)
    assert len(read([str(path)], DataConfig(**options))) == 2
