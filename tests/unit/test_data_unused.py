"""A block of columns names all that is read, and what is not read is said (D1, D2)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tunery.config.config import Config
from tunery.config.data import DataConfig
from tunery.config.frozen import with_types
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import CheckOptions, check
from tunery.data.lint.report import Report
from tunery.data.problems import Problem
from tunery.errors import DataError
from tunery.services.datasets import show_row
from tunery.types import Message

QUESTION = Message("user", "q")
ANSWER = Message("assistant", "a")
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def written(folder: Path, rows: list[dict[str, Any]], entry: dict[str, Any] | None = None) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if entry is not None:
        info = {"rows": {"file_name": file.name, **entry}}
        (folder / "dataset_info.json").write_text(json.dumps(info))
    return str(file)


def checked(name: str, **options: Any) -> Report:
    return check(find(name), CheckOptions(**options))


def said(report: Report, code: str) -> Problem:
    return report.groups[code].examples[0]


FOREIGN = {"input": "q", "target": "a", "system": "a column of something else", "history": "x"}


@pytest.mark.parametrize("how", ["registry", "setting"])
def test_a_block_of_columns_names_all_that_is_read(tmp_path: Path, how: str) -> None:
    if how == "registry":
        name = written(tmp_path, [FOREIGN], {"columns": {"prompt": "input", "response": "target"}})
        config = DataConfig()
    else:
        name = written(tmp_path, [FOREIGN])
        config = DataConfig(format="alpaca", columns={"instruction": "input", "output": "target"})
    examples = read([name], config)
    assert examples[0].messages == (QUESTION, ANSWER)
    assert [str(w.found) for w in examples.warnings] == ["not read: system, history"]
    assert "--data.columns.system system" in str(examples.warnings[0].fix)


def test_an_undeclared_input_is_not_read_and_naming_it_reads_it(tmp_path: Path) -> None:
    name = written(tmp_path, [{"instruction": "q", "input": "more", "answer": "a"}])
    config = DataConfig(format="alpaca", columns={"output": "answer"})
    assert read([name], config)[0].messages == (QUESTION, ANSWER)
    config = DataConfig(format="alpaca", columns={"output": "answer", "input": "input"})
    assert read([name], config)[0].messages[0].content == "q\nmore"
    assert read([name], config).warnings == []


def test_sharegpt_columns_leave_out_system_and_tools_that_were_not_named(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    rows = [{"talk": talk, "system": "s", "tools": "not tools"}]
    entry = {"formatting": "sharegpt", "columns": {"messages": "talk"}}
    example = read([written(tmp_path, rows, entry)], DataConfig())[0]
    assert (example.messages, example.tools) == ((QUESTION, ANSWER), ())


def test_pairs_and_labels_keep_their_prompt_where_only_the_answers_are_named(
    tmp_path: Path,
) -> None:
    name = written(tmp_path, [{"prompt": "q", "good": "a", "bad": "b"}])
    config = DataConfig(format="preference", columns={"chosen": "good", "rejected": "bad"})
    assert read([name], config)[0].prompt.messages == (QUESTION,)
    name = written(tmp_path, [{"messages": TURNS, "good": True}])
    config = DataConfig(format="unpaired", columns={"label": "good"})
    assert read([name], config)[0].conversation.messages == (QUESTION, ANSWER)


def test_columns_and_keys_of_messages_that_nothing_reads_are_listed(tmp_path: Path) -> None:
    turns = [TURNS[0], {**TURNS[1], "score": 3}]
    report = checked(written(tmp_path, [{"messages": turns, "id": 7, "source": "x"}]))
    assert report.ok
    assert str(said(report, "W725").found) == "not used: id, source, messages[].score"


def test_keys_inside_messages_are_not_said_to_be_columns(tmp_path: Path) -> None:
    report = checked(written(tmp_path, [{"messages": [TURNS[0], {**TURNS[1], "score": 3}]}]))
    assert str(said(report, "W725").fix) == (
        "Keys inside messages cannot be read. To accept that: --data.accept W725."
    )


@pytest.mark.parametrize("label", [2, "good"])
def test_a_label_that_is_not_read_leads_to_the_format_that_reads_labels(
    tmp_path: Path, label: Any
) -> None:
    row = {"prompt": "q", "completion": "a", "label": label}
    fix = str(said(checked(written(tmp_path, [row])), "W725").fix)
    assert fix.startswith("If label marks good and bad answers: --data.format unpaired")


def test_a_weight_of_a_whole_row_is_a_warning(tmp_path: Path) -> None:
    report = checked(written(tmp_path, [{"messages": TURNS, "loss_weight": 0.5}]))
    assert str(said(report, "W718").found) == "not used: loss_weight; all rows count the same"


@pytest.mark.parametrize(
    "row",
    [
        {"text": "t", "weight": 0.5},
        {"prompt": "q", "chosen": "a", "rejected": "b", "weight": 0.5},
        {"prompt": "q", "completion": "a", "label": True, "weight": 0.5},
    ],
    ids=["text", "preference", "unpaired"],
)
def test_a_weight_of_rows_that_have_none_leads_to_what_works(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    fix = str(said(checked(written(tmp_path, [row])), "W718").fix)
    assert "message" not in fix
    assert "have no weight" in fix
    assert fix.endswith("--data.accept W718.")
    accepted = checked(written(tmp_path, [row]), accept=("W718",))
    assert "W718" not in accepted.groups


def test_a_weight_of_another_name_is_read_as_the_advice_says(tmp_path: Path) -> None:
    row = {"instruction": "q", "system": "s", "output": "a", "loss_weight": 2}
    name = written(tmp_path, [row])
    fix = str(said(checked(name), "W718").fix)
    columns = dict(re.findall(r"--data\.columns\.(\w+) (\w+)", fix))
    assert columns == {"weight": "loss_weight", "system": "system"}
    (example,) = read([name], DataConfig(columns=columns))
    assert example.weight == 2  # type: ignore[union-attr]
    assert not set(checked(name, columns=columns).groups) & {"W717", "W718"}


def test_a_named_column_that_only_another_format_has_is_said(tmp_path: Path) -> None:
    name = written(tmp_path, [{"messages": TURNS}])
    report = checked(name, columns={"prompt": "x"})
    assert str(said(report, "W716").found) == (
        "data.columns.prompt belongs to other formats (prompt_completion, preference, unpaired); "
        "these rows are read as openai, so it is not used"
    )
    report = checked(name, columns={"chosen": "x"})
    assert str(said(report, "W716").found) == (
        "data.columns.chosen belongs to the format preference; these rows are read as openai, so "
        "it is not used"
    )
    assert "--data.format preference" in str(said(report, "W716").fix)


def test_a_named_column_that_no_format_has_is_refused_instead_of_guessing(tmp_path: Path) -> None:
    name = written(tmp_path, [{"instruction": "q", "output": "a"}])
    columns = {"inptu": "x", "instruction": "instruction"}
    report = checked(name, columns=columns)
    assert (report.refusal, report.good) == ("E201", 0)
    problem = said(report, "E201")
    assert str(problem.found) == "data.columns.inptu: no format has such a column"
    assert str(problem.fix) == "Did you mean data.columns.input?"
    with pytest.raises(DataError, match=r"data\.columns\.inptu"):
        read([name], DataConfig(columns=columns))


def test_names_of_llamafactory_mean_the_same_where_the_format_is_detected(tmp_path: Path) -> None:
    name = written(tmp_path, [{"instruction": "no", "output": "no", "note": "q", "target": "a"}])
    columns = {"prompt": "note", "response": "target"}
    report = checked(name, columns=columns)
    assert (report.format, "W716" in report.groups) == ("alpaca", False)
    result = read([name], DataConfig(columns=columns))
    assert result[0].messages == (QUESTION, ANSWER)


@pytest.mark.parametrize("entry", [{"prompt": "input", "response": "target"}, None])
def test_names_of_llamafactory_mean_the_same_on_the_command_line(
    tmp_path: Path, entry: dict[str, str] | None
) -> None:
    row = {"instruction": "no", "input": "no", "target": "yes", "note": "q"}
    name = written(tmp_path, [row], {"columns": entry} if entry else None)
    config = DataConfig(columns={"prompt": "note", "response": "target"}, format="alpaca")
    report = checked(name, columns=config.columns, format=config.format)
    assert "W716" not in report.groups
    result = read([name], config)
    assert [m.content for m in result[0].messages] == ["q", "yes"]  # pyright: ignore
    assert "W716" not in {warning.code for warning in result.warnings}


def test_an_alpaca_entry_with_tools_gives_tools(tmp_path: Path) -> None:
    columns = {"prompt": "instruction", "response": "output", "tools": "functions"}
    row = {"instruction": "q", "output": "a", "functions": json.dumps(TOOLS)}
    name = written(tmp_path, [row], {"columns": columns})
    assert read([name], DataConfig())[0].tools == tuple(TOOLS)
    name = written(tmp_path, [row | {"functions": "{broken"}], {"columns": columns})
    assert str(said(checked(name), "E411").found).startswith("field functions: not JSON")


def test_the_advice_to_learn_chosen_answers_alone_reads_the_whole_question(tmp_path: Path) -> None:
    row = {"instruction": "q", "input": "more", "system": "s", "chosen": "a", "rejected": "b"}
    name = written(tmp_path, [row])
    fix = str(said(checked(name, wanted="conversation"), "E503").fix)
    words = fix.partition("--data.format ")[2].rstrip(".").split()
    pairs = zip(words[1::2], words[2::2], strict=True)
    columns = {flag.removeprefix("--data.columns."): theirs for flag, theirs in pairs}
    example = read([name], DataConfig(format=words[0], columns=columns))[0]
    assert [m.content for m in example.messages] == ["s", "q\nmore", "a"]


def test_what_only_late_rows_hold_is_named_too(tmp_path: Path) -> None:
    plain = [{"instruction": f"q {i}", "output": f"a {i}"} for i in range(3000)]
    plain[2900] |= {"note": "x", "loss_weight": "0"}
    report = checked(written(tmp_path, plain))
    assert str(said(report, "W725").found) == "not used: note"
    assert str(said(report, "W718").found) == "not used: loss_weight; all rows count the same"
    talks = [{"messages": [dict(turn) for turn in TURNS]} for _ in range(3000)]
    talks[2900]["messages"][1]["mood"] = "sad"
    report = checked(written(tmp_path, talks))
    assert str(said(report, "W725").found) == "not used: messages[].mood"


def test_columns_of_rows_that_cannot_be_used_are_not_named(tmp_path: Path) -> None:
    good, bad = {"instruction": "q", "output": "a"}, {"instruction": "q", "outptu": "a"}
    assert "W725" not in checked(written(tmp_path, [good, bad])).groups


def test_so_many_columns_are_counted_where_they_are_not_named(tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "a"} | {f"column{i:03}": i for i in range(1, 61)}
    found = str(said(checked(written(tmp_path, [row])), "W725").found)
    named = found.removeprefix("not used: ").split(", ")
    assert named[-1] == f"… (+{60 - len(named[:-1])})"
    assert named[:2] == ["column001", "column002"]


def test_check_preview_and_run_name_it(tmp_path: Path, demo_home: Path) -> None:
    name = written(tmp_path, [{"instruction": "q", "output": "a", "topic": "x"}])
    word = "not used: topic"
    assert word in str(said(checked(name), "W725").found)
    assert [str(w.found) for w in read([name], DataConfig()).warnings] == [word]
    shown = show_row(name, Config.model_validate(with_types({"data": {"train": [name]}})))
    assert any(word in notice for notice in shown.notices)
    assert read([name], DataConfig(accept=["W725"])).warnings == []
