"""Each piece of advice about columns, roles and methods is applied here (B7, B8)."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tunery.config.load import from_tokens
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import CheckOptions, Report, check
from tunery.errors import ConfigError
from tunery.types import Conversation, Text

FLAGS = re.compile(r"((?:'?--\w+\.[^ ]+ ?'?|'?--data\.role_map(?: |\.)).*?)[.?]?$")


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def checked(path: Path, *words: str) -> Report:
    config = from_tokens(list(words)).config
    wanted = config.method.rows if any("method" in word for word in words) else None
    data = config.data
    dataset = find(str(path), fmt=data.format, columns=data.columns)
    return check(dataset, CheckOptions.of(data, wanted=wanted))


def advised(report: Report, **fill: str) -> list[str]:
    """The words of the first fix that are a command line."""
    fix = str(report.problems()[0].fix)
    found = FLAGS.search(fix)
    assert found is not None, fix
    words = shlex.split(found[1].rstrip(".?"))
    return [fill.get(word, word) for word in words]


def said(path: Path, *words: str) -> list[str]:
    data = from_tokens(list(words)).config.data
    example = read([str(path)], data)[0]
    if isinstance(example, Text):
        return [example.text]
    assert isinstance(example, Conversation)
    return [message.content for message in example.messages]


ASSISTANT = {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "q", "answer": "a"}, ["q", "a"]),
        ({"prompt": "q", "answer": "a"}, ["q", "a"]),
        ({"Question": "q", "Correct Answer": "x", "answer": "a"}, ["q", "a"]),
        ({"instruction": "q", "response": "a"}, ["q", "a"]),
        ({"input": "q", "output": "a"}, ["q", "a"]),
        ({"context": "c", "instruction": "q", "response": "a", "category": "x"}, ["q\nc", "a"]),
        ({"content": "words"}, ["words"]),
        ({"conversation": [{"role": "user", "content": "q"}, ASSISTANT]}, ["q", "a"]),
        ({"my chat": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, ["q", "a"]),
    ],
)
def test_columns_of_no_format_are_read_as_the_advice_says(
    row: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", [row])
    report = checked(path)
    assert [problem.code for problem in report.problems()] == ["E201"]
    words = advised(report)
    assert checked(path, *words).ok
    assert said(path, *words) == expected


def test_a_named_format_keeps_its_name_or_another_is_offered(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": "q", "answer": "a"}] * 2)
    words = ["--data.format", "alpaca"]
    assert checked(path, *words, *advised(checked(path, *words))).ok
    assert checked(path, *advised(checked(path, "--data.format", "openai"))).ok


def test_where_nothing_is_plain_the_columns_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"title": "t", "body": "b", "more": "c"}])
    fix = str(checked(path).problems()[0].fix)
    assert "THEIRS is one of title, body, more" in fix
    path = write(tmp_path / "b.jsonl", [{"a": 1, "b": 2}])
    assert "No column contains text: use a file with text or messages" in str(
        checked(path).problems()[0].fix
    )


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_rows_deep_inside_one_object_are_found_by_the_advice(name: str, tmp_path: Path) -> None:
    rows = [{"instruction": f"q{i}", "output": "a"} for i in range(3)]
    path = tmp_path / name
    path.write_text(json.dumps({"version": 1, "result": {"rows": rows}}))
    report = checked(path)
    words = advised(report)
    assert words == ["--data.records_at", "result.rows"]
    assert checked(path, *words).rows == 3


def test_a_table_with_empty_answers_is_read_and_the_empty_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt,answer\n"some long text",\n"other",\n')
    report = checked(path)
    assert [problem.code for problem in report.problems()] == ["E143"]
    assert "none is a known column" not in str(report.problems()[0].found)
    report = checked(path, *advised(report))
    assert {problem.code for problem in report.problems()} == {"E302"}


@pytest.mark.parametrize(
    "role",
    ["Assistant", "ASSISTANT ", "bot", "my-role", "chat bot", "1", "模型", "a.b", "x=y", "it's"],
)
def test_an_unknown_role_is_mapped_as_the_advice_says(role: str, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": role, "content": "a"}]
    path = write(tmp_path / "a.jsonl", [{"messages": turns}])
    report = checked(path)
    assert [problem.code for problem in report.problems()] == ["E405"]
    fix = str(report.problems()[0].fix).replace("ROLE", "assistant")
    words = shlex.split(fix[re.search(r"'?--data", fix).start() :].rstrip("."))  # type: ignore[union-attr]
    assert checked(path, *words).ok
    assert said(path, *words) == ["q", "a"]


def test_every_unknown_role_of_a_dataset_is_named_at_once(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "Kunde", "content": "q"}, {"role": "my bot", "content": "a"}]},
        {"messages": [{"role": "client", "content": "r"}, {"role": "Assistant", "content": "b"}]},
    ]
    path = write(tmp_path / "a.jsonl", rows)
    first, second = checked(path).problems()
    assert (first.code, second.code, first.count) == ("E405", "E405", 2)
    fix = str(first.fix)
    for role, ours in {"Kunde": "user", "my bot": "assistant", "client": "user"}.items():
        assert re.search(rf"role_map\.{role}'? ROLE", fix), fix
        fix = re.sub(rf"(role_map\.{role}'?) ROLE", rf"\1 {ours}", fix)
    assert "--data.role_map.Assistant assistant" in fix
    words = shlex.split(fix[fix.index("--data") :].rstrip("."))
    assert checked(path, *words).ok


def test_every_unknown_speaker_of_turns_is_named_at_once(tmp_path: Path) -> None:
    turns = [{"from": "Kunde", "value": "q"}, {"from": "Bot", "value": "a"}]
    path = write(tmp_path / "a.jsonl", [{"conversations": turns}])
    fix = str(checked(path).problems()[0].fix)
    assert "--data.role_map.Kunde ROLE" in fix
    assert "--data.role_map.Bot ROLE" in fix


def test_a_role_that_is_mapped_to_no_role_is_told_so(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "bot", "content": "a"}]
    path = write(tmp_path / "a.jsonl", [{"messages": turns}])
    with pytest.raises(ConfigError, match=r"data.role_map.bot: 'ROLE' is not a role"):
        checked(path, "--data.role_map.bot", "ROLE")
    report = check(find(str(path)), CheckOptions(role_map={"bot": "ROLE"}))
    found = str(report.problems()[0].found)
    assert found == 'data.role_map maps role "bot" to "ROLE", which is not a role'


def test_the_prompt_of_chosen_answers_alone_is_the_one_that_pairs_have(tmp_path: Path) -> None:
    row = {"instruction": "q", "prompt": "other", "chosen": "good", "rejected": "bad"}
    path = write(tmp_path / "a.jsonl", [row])
    report = checked(path, "--method.type", "sft")
    assert [problem.code for problem in report.problems()] == ["E503"]
    fix = str(report.problems()[0].fix)
    words = shlex.split(fix[fix.index("set ") + 4 :].rstrip("."))
    assert said(path, *words) == ["q", "good"]


def test_bytes_of_a_parquet_column_are_texts_and_other_bytes_are_named(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    columns = {"instruction": [b"q", "é".encode()], "output": [b"a", b"b"]}
    parquet.write_table(pyarrow.table(columns), path)
    report = checked(path)
    assert (report.ok, [problem.code for problem in report.problems()]) == (True, ["N152"])
    assert said(path) == ["q", "a"]
    parquet.write_table(pyarrow.table({**columns, "output": [b"a", b"\xff\xfe"]}), path)
    first = checked(path).problems()[0]
    assert (first.code, first.record) == ("E304", 2)
    assert "UTF-8" in str(first.fix)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["prompt", "answer"], "known: prompt; not known: answer"),
        (["x", "y"], "x, y; no format has these columns"),
        (["input", "system"], "input, system; no format has just these columns"),
    ],
)
def test_columns_of_no_format_are_told_apart(tmp_path: Path, columns: list[str], said: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f"{','.join(columns)}\nq,a\n")
    (problem,) = check(find(str(file)), CheckOptions()).problems()
    assert (problem.code, said in str(problem.found)) == ("E143", True), str(problem.found)
    if "known" in said:
        rows = write(tmp_path / "rows.jsonl", [dict.fromkeys(columns, "q")])
        assert str(checked(rows).problems()[0].found).endswith(said)


@pytest.mark.parametrize("mark", ["^", ":", "¦"])
def test_an_unusual_delimiter_is_named_instead_of_one_column_of_text(
    tmp_path: Path, mark: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f"prompt{mark}completion\na{mark}b\nc{mark}d\n")
    problem = check(find(str(file)), CheckOptions()).groups["E143"].examples[0]
    assert str(problem.fix) == f"Set the delimiter: --data.delimiter {mark}."
    assert check(find(str(file)), CheckOptions(delimiter=mark)).ok
    file.write_text(f"prompt{mark}completion\na {mark} b {mark}\nplain\n")
    problem = check(find(str(file)), CheckOptions()).groups["E143"].examples[0]
    assert "--data.delimiter" not in str(problem.fix)


def test_two_columns_of_text_are_named_in_the_advice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"frage": "q", "die antwort": "a"}] * 2)
    fix = str(checked(path).problems()[0].fix)
    assert "THEIRS" not in fix
    first = fix[fix.index("--data") : fix.index(";")]
    assert said(path, *shlex.split(first)) == ["q", "a"]
    fix = str(checked(path, "--data.format", "text").problems()[0].fix)
    assert fix == (
        "Choose the column, one of: --data.columns.text frage, --data.columns.text 'die antwort'."
    )


def test_a_header_of_empty_cells_is_said_to_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",,\na,b,c\n")
    (problem,) = checked(path).problems()
    assert (problem.code, str(problem.found)) == (
        "E143",
        "all cells of the header are empty (3)",
    )
    assert "--data.columns" not in str(problem.fix)
    words = ["--data.header", "false", "--data.columns.instruction", "1",
             "--data.columns.output", "2", "--data.format", "alpaca"]  # fmt: skip
    assert checked(path, *words).rows == 2
    path.write_text(",prompt,completion\n0,a,b\n")
    assert checked(path).ok


def test_column_names_with_spaces_are_quoted_and_can_be_typed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{" prompt": "q", "completion ": "a"}] * 3)
    (problem,) = checked(path).problems()
    assert str(problem.found) == 'no known format: rows have " prompt", "completion "'
    assert str(problem.fix).startswith("Some column names begin or end with a space.")
    words = shlex.split(str(problem.fix)[str(problem.fix).index("--data") :].rstrip("."))
    assert said(path, *words) == ["q", "a"]
    path = write(tmp_path / "b.jsonl", [{"prompt": "q", "completion": "a", "note ": "n"}])
    assert str(checked(path).problems()[0].found) == 'not used: "note "'
