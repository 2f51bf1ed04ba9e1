"""Reading the rows of a run: lazily, counted to the last row, split without overlap."""

from __future__ import annotations

import errno
import gzip
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tunery import env
from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.examples import example_key, read, split, weight
from tunery.data.lint import CheckOptions, check
from tunery.errors import ConfigError, DataError
from tunery.types import Conversation, RowRef


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def numbered(count: int) -> list[dict[str, str]]:
    return [{"instruction": f"question {i}", "output": f"答案 {i}"} for i in range(count)]


def answers(examples: Any) -> list[str]:
    return [example.messages[-1].content for example in examples]


@pytest.fixture(
    params=[
        "jsonl",
        "json",
        "pretty.json",
        "csv",
        "tsv",
        "parquet",
        "arrow",
        "feed.arrow",
        "jsonl.gz",
        "utf16.jsonl",
    ]
)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, DataConfig]:
    """The same fifty rows in each kind of file, texts with commas, quotes and line breaks."""
    rows = [
        {"instruction": f'question "{i}",\nsecond line', "output": f"答案 {i}"} for i in range(50)
    ]
    path = tmp_path / f"rows.{request.param}"
    config = DataConfig()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    match request.param:
        case "jsonl":
            path.write_text("\n" + lines.replace("\n", "\r\n", 3))
        case "json":
            path.write_text(json.dumps(rows))
        case "pretty.json":
            path.write_text(json.dumps(rows, indent=2, ensure_ascii=False))
        case "csv" | "tsv":
            import csv

            with path.open("w", newline="") as out:
                table = csv.DictWriter(
                    out,
                    ["instruction", "output"],
                    delimiter="," if request.param == "csv" else "\t",
                )
                table.writeheader()
                table.writerows(rows)
        case "parquet":
            import pyarrow
            from pyarrow import parquet

            parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=7)
        case "arrow" | "feed.arrow":
            import pyarrow

            table = pyarrow.Table.from_pylist(rows)
            maker = pyarrow.ipc.new_file if request.param == "arrow" else pyarrow.ipc.new_stream
            with maker(str(path), table.schema) as out:
                out.write_table(table, max_chunksize=7)
        case "jsonl.gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case _:
            path.write_bytes(lines.encode("utf-16"))
            config = DataConfig(encoding="utf-16")
    return path, config


def test_every_kind_of_file_gives_the_same_examples_at_random(
    file: tuple[Path, DataConfig],
) -> None:
    path, config = file
    examples = read([str(path)], config)
    assert len(examples) == 50
    for i in (49, 0, 17, 18, 3):
        example = examples[i]
        assert isinstance(example, Conversation)
        assert [m.content for m in example.messages] == [
            f'question "{i}",\nsecond line',
            f"答案 {i}",
        ]
        assert example.ref is not None
        assert example.ref.record == i + 1
    assert answers(examples[-2:]) == ["答案 48", "答案 49"]
    with pytest.raises(IndexError):
        examples[50]


def test_each_line_of_a_text_file_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_text("one line\n\nanother\u2028line\n")
    examples = read([str(path)], DataConfig())
    assert [example.text for example in examples] == ["one line", "another\u2028line"]
    assert examples.ref(1) == RowRef(str(path), str(path), 2, 3)


def test_a_row_is_found_again_after_blank_lines_and_rows_set_aside(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in numbered(200)]
    lines[3:3] = ["", "   "]
    lines[10] = "{broken"
    lines[20] = '{"instruction": "q"}'
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    config = DataConfig(on_bad_rows="quarantine", max_bad_share=0.05)
    examples = read([str(path)], config, quarantine=tmp_path / "quarantine.jsonl")
    assert len(examples) == 198
    for i in range(len(examples)):
        ref = examples.ref(i)
        assert ref.line is not None
        assert json.loads(lines[ref.line - 1]) == examples.raw(i)
    assert [examples.ref(i).record for i in (7, 8, 16, 17)] == [8, 10, 18, 20]


def test_quarantine_keeps_the_raw_row_its_place_and_its_code(tmp_path: Path) -> None:
    rows: list[Any] = numbered(300)
    rows[100] = {"instruction": "q", "output": ""}
    rows[200] = {"instruction": "\ud83d", "output": "a"}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    aside = tmp_path / "run" / "quarantine.jsonl"
    examples = read([str(path)], DataConfig(on_bad_rows="quarantine"), quarantine=aside)
    assert examples.ledger.as_dict() == {
        "read": 300, "used": 298, "quarantined": 2, "filtered": {}, "repeated": 0
    }  # fmt: skip
    assert examples.ledger.balanced()
    kept = [json.loads(line) for line in aside.read_text().splitlines()]
    assert [(row["code"], row["line"], row["field"]) for row in kept] == [
        ("E302", 101, "output"),
        ("E113", 201, "instruction"),
    ]
    assert json.loads(kept[0]["raw"]) == rows[100]


def test_too_many_bad_rows_stop_a_run_that_would_set_them_aside(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*numbered(8), {"instruction": "q"}])
    aside = tmp_path / "quarantine.jsonl"
    config = DataConfig(on_bad_rows="quarantine")
    with pytest.raises(DataError, match="1 of 9 rows cannot be used") as caught:
        read([str(path)], config, quarantine=aside)
    assert not aside.exists()
    assert "E301" in str(caught.value)
    config = DataConfig(on_bad_rows="quarantine", max_bad_share=0.2)
    assert len(read([str(path)], config, quarantine=aside)) == 8


def test_the_way_out_that_a_report_prints_lets_the_rows_through(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*numbered(8), {"instruction": "q"}])
    with pytest.raises(DataError) as caught:
        read([str(path)], DataConfig())
    line = str(caught.value).splitlines()[-1]
    share = float(line.rpartition("--data.max_bad_share ")[2])
    assert "--data.on_bad_rows quarantine" in line
    config = DataConfig(on_bad_rows="quarantine", max_bad_share=share)
    assert len(read([str(path)], config)) == 8


def test_variables_fill_every_text_and_what_is_left_is_counted(tmp_path: Path) -> None:
    rows = [{"instruction": "who", "output": "I am {{name}} of {{ author }}"}, *numbered(2)]
    path = write(tmp_path / "rows.jsonl", rows)
    filled = read([str(path)], DataConfig(variables={"name": "Tuna", "author": "安"}))
    assert answers(filled)[0] == "I am Tuna of 安"
    with pytest.raises(DataError) as caught:
        read([str(path)], DataConfig(variables={"name": "Tuna"}))
    assert caught.value.message.endswith("rows still hold {{author}} (1 of 3).")
    assert '--data.variables.author "..."' in caught.value.fix
    with pytest.raises(DataError) as both:
        read([str(path)], DataConfig())
    assert both.value.fix.startswith("Set data.variables.name, data.variables.author, or pass: ")
    kept = read([str(path)], DataConfig(accept=["W706"]))
    assert answers(kept)[0] == "I am {{name}} of {{ author }}"


def test_names_are_taken_several_times_and_samples_are_the_same_each_time(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", numbered(40))
    config = DataConfig(max_samples=5)
    sample = read([f"{path}*3"], config)
    assert len(sample) == 15
    assert answers(sample)[:5] == answers(sample)[5:10]
    assert answers(sample) == answers(read([f"{path}*3"], config))
    assert sample.ledger.as_dict() == {
        "read": 40,
        "used": 5,
        "quarantined": 0,
        "filtered": {"max_samples": 35},
        "repeated": 10,
    }
    assert answers(sample)[:5] != [f"答案 {i}" for i in range(5)]


@pytest.mark.parametrize("name", ["x*0", "x*-1", "x*two", "x*1.5"])
def test_a_weight_that_is_no_whole_number_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        weight(name)


def test_duplicates_are_left_out_only_when_asked_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", numbered(10) + numbered(4))
    assert [p.code for p in read([str(path)], DataConfig()).warnings] == ["W704"]
    left = read([str(path)], DataConfig(deduplicate=True))
    assert len(left) == 10
    assert left.warnings == []
    assert left.ledger.filtered == {"duplicate": 4}
    assert left.ledger.balanced()


def test_a_split_never_puts_duplicates_on_both_sides(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", numbered(60) + numbered(60) + numbered(20))
    examples = read([str(path)], DataConfig())
    train, held = split(examples, 0.2, seed=3)
    assert sorted(train + held) == list(range(140))
    assert 20 <= len(held) <= 36
    keys = [example_key(example) for example in examples]
    assert not {keys[i] for i in train} & {keys[i] for i in held}
    assert split(examples, 0.2, seed=3) == (train, held)
    assert split(examples, 0.2, seed=4) != (train, held)
    assert split(examples, 0.0, seed=3) == (list(range(140)), [])


def test_a_split_does_not_depend_on_the_order_of_the_rows(tmp_path: Path) -> None:
    rows = numbered(50)
    there = read([str(write(tmp_path / "a.jsonl", rows))], DataConfig())
    back = read([str(write(tmp_path / "b.jsonl", rows[::-1]))], DataConfig())
    held = {example_key(there[i]) for i in split(there, 0.3, seed=1)[1]}
    assert held == {example_key(back[i]) for i in split(back, 0.3, seed=1)[1]}


def test_a_split_that_leaves_no_row_to_train_on_is_an_error(tmp_path: Path) -> None:
    two = read([str(write(tmp_path / "rows.jsonl", numbered(2)))], DataConfig())
    with pytest.raises(DataError, match="no rows are left to train on") as caught:
        split(two, 0.9, seed=0)
    assert caught.value.code == "E172"
    same = read([str(write(tmp_path / "same.jsonl", numbered(1) * 10))], DataConfig())
    one = read([str(write(tmp_path / "one.jsonl", numbered(1)))], DataConfig())
    for rows, share in ((same, 0.6), (same, 0.01), (one, 0.1), (one, 0.9)):
        with pytest.raises(DataError, match="never on both sides") as caught:
            split(rows, share, seed=0)
        assert "evaluate.split to 0" in caught.value.fix


@pytest.mark.parametrize(
    ("counts", "held_out"),
    [([1, 1], 1), ([1] * 8, 1), ([9, 1], 1), ([1, 9], 1), ([60, 30, 10], 10), ([1] * 700, 1)],
)
def test_a_small_share_holds_out_at_least_one_row(
    tmp_path: Path, counts: list[int], held_out: int
) -> None:
    """A preset's share of 0.05 works with two rows."""
    rows = [
        row for number, count in enumerate(counts) for row in [numbered(number + 1)[-1]] * count
    ]
    examples = read([str(write(tmp_path / "rows.jsonl", rows))], DataConfig())
    train, held = split(examples, 0.0001, seed=0)
    assert len(held) == held_out
    assert sorted(train + held) == list(range(len(rows)))
    keys = [example_key(example) for example in examples]
    assert not {keys[i] for i in train} & {keys[i] for i in held}


def test_the_hash_tells_changed_rows_variables_and_reading_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", numbered(5))
    first = read([str(path)], DataConfig()).hash
    assert read([str(path)], DataConfig()).hash == first
    assert read([str(path)], DataConfig(variables={"a": "b"})).hash != first
    assert read([f"{path}*2"], DataConfig()).hash != first
    write(path, numbered(6))
    assert read([str(path)], DataConfig()).hash != first


def test_a_file_that_changes_while_it_is_used_is_an_error_with_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", numbered(5))
    examples = read([str(path)], DataConfig())
    path.write_text("short\n")
    with pytest.raises(DataError, match=r"rows\.jsonl record 4") as caught:
        examples[3]
    assert caught.value.code == "E181"


def test_rows_are_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    text = "word " * 80
    with path.open("w") as file:
        for i in range(20_000):
            file.write(json.dumps({"instruction": f"{i} {text}", "output": text}) + "\n")
    tracemalloc.start()
    examples = read([str(path)], DataConfig())
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 15_000_000
    assert held < 1_500_000
    assert peak < 15_000_000
    assert len(examples) == 20_000


@pytest.mark.parametrize(
    ("number", "cause", "fix"),
    [
        (errno.EACCES, "cannot be written to the cache", "Set TUNERY_HOME to a writable folder."),
        (errno.ENOSPC, "not enough space", "Free some space"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_copy_that_cannot_be_written_is_said_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, cause: str, fix: str, packed: bool
) -> None:
    lines = b'{"instruction": "q", "output": "a"}\n'
    path = tmp_path / ("rows.jsonl.gz" if packed else "rows.jsonl")
    path.write_bytes(gzip.compress(lines) if packed else lines.decode().encode("utf-16"))

    def refused(self: Path, target: Path) -> Path:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", refused)
    config = DataConfig(encoding="utf-8" if packed else "utf-16")
    problem = check(find(str(path)), CheckOptions.of(config)).groups["E195"].examples[0]
    assert cause in str(problem.found)
    assert os.strerror(number) in str(problem.found)
    assert str(problem.fix).startswith(fix)
    monkeypatch.setenv("TUNERY_HOME", str(tmp_path / "home"))
    env.cache_dir().parent.mkdir(parents=True, exist_ok=True)
    env.cache_dir().write_text("a file where the folder should be")
    problem = check(find(str(path)), CheckOptions.of(config)).groups["E195"].examples[0]
    assert "not enough space" not in str(problem.found)


def test_a_run_is_not_told_what_rendering_settles(tmp_path: Path) -> None:
    """W712 advises to name a model, which a run has; a check without one tells it."""
    turns = [{"role": "assistant", "content": "hello"}, {"role": "user", "content": "q"},
             {"role": "assistant", "content": "a"}]  # fmt: skip
    path = write(tmp_path / "rows.jsonl", [{"messages": turns}])
    examples = read([str(path)], DataConfig())
    assert "W712" in [problem.code for problem in examples.reports[0].problems()]
    assert examples.warnings == []
