"""Lists written as text in a cell (B3), and turns under another name (B4): advice that works."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunery.config.load import from_tokens
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import CheckOptions, Report, check
from tunery.types import Conversation, Message

TALK = [{"role": "user", "content": "it's"}, {"role": "assistant", "content": 'a "b"\n'}]
QUESTION, ANSWER = Message("user", "q"), Message("assistant", "a")


def checked(path: Path, *words: str) -> Report:
    config = from_tokens(list(words)).config.data
    return check(find(str(path), fmt=config.format), CheckOptions.of(config))


def advised(report: Report) -> list[str]:
    """The settings that the first fix names."""
    fix = str(report.problems()[0].fix)
    found = re.search(r"Set (--data\.\S+) (\w+)", fix)
    assert found is not None, fix
    return [found[1], found[2]]


def table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return path


@pytest.mark.parametrize(("written", "how"), [(json.dumps, "json"), (repr, "python")])
def test_a_list_written_into_a_cell_is_read_as_the_advice_says(
    written: Callable[[Any], str], how: str, tmp_path: Path
) -> None:
    path = table(tmp_path / "a.csv", [{"messages": written(TALK)}])
    report = checked(path)
    assert [problem.code for problem in report.problems()] == ["E407"]
    words = advised(report)
    assert words == ["--data.parse.messages", how]
    assert checked(path, *words).ok
    example = read([str(path)], from_tokens(words).config.data)[0]
    assert isinstance(example, Conversation)
    assert [m.content for m in example.messages] == ["it's", 'a "b"\n']


@pytest.mark.parametrize(("written", "wrong", "right"), [(json.dumps, "python", "json"),
                                                         (repr, "json", "python")])  # fmt: skip
def test_the_wrong_way_of_parsing_names_the_right_one(
    written: Callable[[Any], str], wrong: str, right: str, tmp_path: Path
) -> None:
    talk = [{"role": "user", "content": "q", "name": None}, {"role": "assistant", "content": "a"}]
    path = table(tmp_path / "a.csv", [{"messages": written(talk)}])
    report = checked(path, "--data.parse.messages", wrong)
    assert advised(report) == ["--data.parse.messages", right]
    assert checked(path, *advised(report)).ok


def test_what_numpy_prints_is_called_that(tmp_path: Path) -> None:
    text = "[{'role': 'user', 'content': 'q'}\n {'role': 'assistant', 'content': 'a'}]"
    report = checked(table(tmp_path / "a.csv", [{"messages": text}]))
    assert "NumPy array" in str(report.problems()[0].found)
    assert "--data.parse" not in str(report.problems()[0].fix)


def test_nothing_of_a_cell_is_run(tmp_path: Path) -> None:
    text = "[__import__('os').system('touch ran')]"
    report = checked(table(tmp_path / "a.csv", [{"messages": text}]))
    assert "is text that is neither JSON nor a Python list" in str(report.problems()[0].found)
    assert not (tmp_path / "ran").exists()


def test_other_columns_are_parsed_too_and_blank_cells_stay_blank(tmp_path: Path) -> None:
    rows = [
        {"instruction": "q", "output": "a", "history": "[['h', 'i']]"},
        {"instruction": "q", "output": "a2", "history": ""},
    ]
    path = table(tmp_path / "a.csv", rows)
    words = advised(checked(path))
    assert words == ["--data.parse.history", "python"]
    examples = read([str(path)], from_tokens(words).config.data)
    assert isinstance(examples[0], Conversation)
    assert [m.content for m in examples[0].messages] == ["h", "i", "q", "a"]
    assert len(examples) == 2
    path = table(tmp_path / "b.csv", [{"prompt": repr(TALK[:1]), "completion": "a"}])
    example = read([str(path)], from_tokens(["--data.parse.prompt", "python"]).config.data)[0]
    assert isinstance(example, Conversation)
    assert example.messages[0] == Message("user", "it's")


def test_turns_with_from_and_value_are_read_under_messages(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    path.write_text(json.dumps({"messages": turns}) + "\n")
    report = checked(path)
    assert (report.ok, report.format) == (True, "sharegpt")
    example = read([str(path)], from_tokens([]).config.data)[0]
    assert isinstance(example, Conversation)
    assert example.messages == (QUESTION, ANSWER)
    report = checked(path, "--data.format", "openai")
    assert not report.ok
    assert advised(report) == ["--data.format", "sharegpt"]
    assert checked(path, *advised(report)).ok


def test_messages_with_roles_stay_openai_and_conversations_sharegpt(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    for column, format in (("messages", "openai"), ("conversations", "sharegpt")):
        path.write_text(json.dumps({column: turns}) + "\n")
        report = checked(path)
        assert (report.ok, report.format) == (True, format)


def test_messages_with_roles_beside_functions_stay_openai(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    call = {"name": "f", "arguments": "{}"}
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "assistant", "content": "a"},
    ]
    path.write_text(json.dumps({"messages": turns, "functions": [{"name": "f"}]}) + "\n")
    assert checked(path).format == "openai"


@pytest.mark.parametrize(("written", "how"), [(json.dumps, "json"), (repr, "python")])
@pytest.mark.parametrize("answers", [["completion"], ["chosen", "rejected"]])
def test_messages_written_into_a_cell_are_not_trained_as_they_are_spelled(
    answers: list[str], written: Callable[[Any], str], how: str, tmp_path: Path
) -> None:
    row = {"prompt": "q"}
    for i, name in enumerate(answers):
        row[name] = written([{"role": "assistant", "content": f"a{i}"}])
    path = table(tmp_path / "a.csv", [row])
    words: list[str] = []
    for name in answers:
        report = checked(path, *words)
        assert [problem.code for problem in report.problems()] == ["E407"]
        words += advised(report)
        assert words[-2:] == [f"--data.parse.{name}", how]
    assert checked(path, *words).ok


def test_a_list_that_holds_no_messages_stays_a_text(tmp_path: Path) -> None:
    row = {"prompt": "[{] is it JSON?", "completion": '[{"a": 1}]'}
    assert checked(table(tmp_path / "a.csv", [row])).ok
