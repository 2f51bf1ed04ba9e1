"""Pairs and labelled rows from every usual spelling, and named errors where a row is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.examples import check_kept, read
from tunery.data.formats import FORMATS, RowOptions
from tunery.data.kinds import row_kind
from tunery.data.lint import CheckOptions, Report, check
from tunery.errors import DataError
from tunery.types import Conversation, Labelled, Message, Pair, ToolCall

ASK = {"role": "user", "content": "q"}
GOOD = {"role": "assistant", "content": "a"}
BAD = {"role": "assistant", "content": "b"}
USER, CHOSEN, REJECTED = (
    Message("user", "q"),
    Message("assistant", "a"),
    Message("assistant", "b"),
)
TOOL = {"type": "function", "function": {"name": "f"}}

PAIRS: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "alpaca": {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
    "messages": {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
    "messages and texts": {"messages": [ASK], "chosen": "a", "rejected": "b"},
    "messages and objects": {"messages": [ASK], "chosen": GOOD, "rejected": BAD},
    "two conversations": {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
    "two conversations with their prompt": {
        "prompt": "q",
        "chosen": [ASK, GOOD],
        "rejected": [ASK, BAD],
        "messages": [ASK, GOOD],
    },
    "sharegpt": {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
    },
    "openai": {
        "input": {"messages": [ASK]},
        "preferred_output": [GOOD],
        "non_preferred_output": [BAD],
    },
    "responses": {"instruction": "q", "chosen_response": "a", "rejected_response": "b"},
    "rejected messages": {"messages": [ASK, GOOD], "rejected_messages": [ASK, BAD]},
    "rejected response": {"messages": [ASK, GOOD], "rejected_response": "b"},
}

LABELLED: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "q", "completion": "a", "label": True},
    "messages": {"messages": [ASK, GOOD], "label": True},
    "prompt messages": {"prompt": [ASK], "completion": [GOOD], "label": True},
    "alpaca": {"instruction": "q", "input": "", "output": "a", "kto_tag": True},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
        "kto_tag": True,
    },
    "number": {"prompt": "q", "completion": "a", "label": 1},
    "text of a tag": {"messages": [ASK, GOOD], "kto_tag": "True"},
}


def written(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def one(folder: Path, row: dict[str, Any], **data: Any) -> Any:
    return read([written(folder, row)], DataConfig(**data))[0]


def checked(folder: Path, *rows: dict[str, Any], **options: Any) -> Report:
    return check(find(written(folder, *rows)), CheckOptions(**options))


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_pair_in_every_spelling(tmp_path: Path, name: str) -> None:
    pair = one(tmp_path, PAIRS[name])
    assert isinstance(pair, Pair)
    assert pair.prompt.messages == (USER,)
    assert (pair.chosen, pair.rejected) == ((CHOSEN,), (REJECTED,))
    assert pair.margin is None
    assert pair.ref is not None
    assert pair.ref.line == 1


@pytest.mark.parametrize("name", LABELLED)
def test_the_same_labelled_row_in_every_spelling(tmp_path: Path, name: str) -> None:
    row = one(tmp_path, LABELLED[name])
    assert isinstance(row, Labelled)
    assert row.conversation.messages == (USER, CHOSEN)
    assert row.label is True


def test_system_history_tools_and_margin_are_read(tmp_path: Path) -> None:
    row = {
        "system": "S",
        "history": [["q0", "a0"]],
        "instruction": "q",
        "input": "more",
        "chosen": "a",
        "rejected": "b",
        "tools": json.dumps([TOOL]),
        "score_chosen": 8.5,
        "score_rejected": 6,
    }
    pair = one(tmp_path, row)
    assert [m.role for m in pair.prompt.messages] == ["system", "user", "assistant", "user"]
    assert pair.prompt.messages[-1].content == "q\nmore"
    assert pair.prompt.tools == (TOOL,)
    assert pair.margin == 2.5
    assert one(tmp_path, {**PAIRS["texts"], "margin": 1}).margin == 1.0
    openai = {**PAIRS["openai"], "input": {"messages": [ASK], "tools": [TOOL]}}
    assert one(tmp_path, openai).prompt.tools == (TOOL,)


def test_answers_of_several_turns_keep_their_calls_and_results(tmp_path: Path) -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    turns = [ASK, call, {"role": "tool", "content": "1"}, GOOD]
    pair = one(tmp_path, {"chosen": turns, "rejected": [ASK, BAD], "tools": [TOOL]})
    assert pair.prompt.messages == (USER,)
    assert [m.role for m in pair.chosen] == ["assistant", "tool", "assistant"]
    assert pair.chosen[0].tool_calls == (ToolCall("f", {}),)
    assert pair.rejected == (REJECTED,)


def test_earlier_answers_that_both_share_are_part_of_the_prompt(tmp_path: Path) -> None:
    start = [ASK, GOOD, {"role": "user", "content": "q2"}]
    pair = one(tmp_path, {"chosen": [*start, GOOD], "rejected": [*start, BAD]})
    assert len(pair.prompt.messages) == 3
    assert (pair.chosen, pair.rejected) == ((CHOSEN,), (REJECTED,))


@pytest.mark.parametrize(
    ("row", "code", "field", "words"),
    [
        (
            {"chosen": [{"role": "user", "content": "x"}, GOOD], "rejected": [ASK, BAD]},
            "E515", "chosen[0]", "chosen[0] and rejected[0] differ",
        ),
        (
            {"chosen": [ASK, GOOD, ASK, GOOD], "rejected": [ASK, GOOD]},
            "E515", "chosen[2]", "one prompt",
        ),
        (
            {"prompt": "other", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
            "E514", "chosen", "prompt differs",
        ),
        ({"chosen": "a", "rejected": "b"}, "E512", "chosen", "no prompt"),
        (
            {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
            "E512", "chosen", "Human:",
        ),
        ({"prompt": "q", "chosen": "", "rejected": "b"}, "E302", "chosen", "empty"),
        ({"prompt": "q", "chosen": "a", "rejected": None}, "E303", "rejected", "null"),
        ({"prompt": "q", "chosen": "a", "rejected": 7}, "E304", "rejected", "number 7"),
        ({"prompt": "q", "chosen": [ASK], "rejected": "b"}, "E406", "chosen", "answer"),
        ({"prompt": [ASK, GOOD], "chosen": "a", "rejected": "b"}, "E402", "chosen[2]", "after"),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b", "margin": "big"},
            "E304", "margin", "expected a number",
        ),
        ({"prompt": "q", "chosen": "same", "rejected": "same"}, "E511", None, "same answer"),
    ],
)  # fmt: skip
def test_a_pair_that_is_none_is_named(
    tmp_path: Path, row: dict[str, Any], code: str, field: str | None, words: str
) -> None:
    report = checked(tmp_path, PAIRS["texts"], row)
    (problem,) = [p for p in report.problems() if p.severity == "stop"]
    assert (problem.code, problem.field, problem.line) == (code, field, 2)
    assert words in str(problem.found)
    assert str(problem.fix)


def test_odd_pairs_are_warned_of(tmp_path: Path) -> None:
    report = checked(
        tmp_path,
        {"prompt": "q", "chosen": "a b", "rejected": "a  b\n"},
        {**PAIRS["texts"], "score_chosen": 1, "score_rejected": 3},
        PAIRS["texts"],
        PAIRS["texts"],
    )
    assert {p.code for p in report.problems()} == {"W721", "W724", "W704"}
    assert report.ok
    assert report.kind == "pair"


@pytest.mark.parametrize(
    ("label", "code"),
    [("yes", "E504"), (0.5, "E504"), (2, "E504"), ([], "E504"), (None, "E303")],
)
def test_a_label_that_is_not_certain_is_an_error(tmp_path: Path, label: Any, code: str) -> None:
    rows = [{"prompt": "q", "completion": "a", "label": value} for value in (True, False, label)]
    (problem,) = [p for p in checked(tmp_path, *rows).problems() if p.severity == "stop"]
    assert (problem.code, problem.field, problem.line) == (code, "label", 3)


def test_a_label_beside_something_else_is_no_labelled_row(tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "a", "label": "spam"}
    assert isinstance(one(tmp_path, row), Conversation)
    assert isinstance(one(tmp_path, {**row, "label": 2}), Conversation)
    assert isinstance(one(tmp_path, {**row, "label": 1}), Labelled)
    assert isinstance(one(tmp_path, {**row, "label": 1}, format="unpaired"), Labelled)


def labels(good: int, bad: int) -> list[dict[str, Any]]:
    return [{"prompt": f"q{i}", "completion": "a", "label": i < good} for i in range(good + bad)]


def test_uneven_labels_are_told_with_the_weights_that_balance_them(tmp_path: Path) -> None:
    (problem,) = checked(tmp_path, *labels(2, 8)).problems()
    assert problem.code == "W723"
    assert "4.00 for true, 1.00 for false" in str(problem.fix)
    assert checked(tmp_path, *labels(4, 3)).problems() == []


def test_a_run_needs_both_labels_in_all_its_datasets_together(tmp_path: Path) -> None:
    for name, rows in (("good", labels(4, 0)), ("bad", labels(0, 4))):
        (tmp_path / name).mkdir()
        written(tmp_path / name, *rows)
    good, bad = str(tmp_path / "good"), str(tmp_path / "bad")
    assert [p.code for p in check(find(good)).problems()] == ["W722"]
    with pytest.raises(DataError, match="all 4 rows have the label true") as caught:
        read([good], DataConfig(), wanted="labelled")
    assert caught.value.code == "E506"
    assert len(read([good, bad], DataConfig(), wanted="labelled")) == 8


CHAT = {"messages": [ASK, GOOD]}


@pytest.mark.parametrize(
    ("row", "wanted", "code"),
    [
        (PAIRS["texts"], "conversation", "E503"),
        (PAIRS["texts"], "text", "E503"),
        (PAIRS["texts"], "labelled", "E503"),
        (LABELLED["texts"], "conversation", "E505"),
        (LABELLED["texts"], "pair", "E505"),
        (CHAT, "pair", "E507"),
        (CHAT, "labelled", "E507"),
        ({"text": "t"}, "pair", "E507"),
        (PAIRS["texts"], "pair", None),
        (LABELLED["texts"], "labelled", None),
        (CHAT, "conversation", None),
        (CHAT, "text", None),
        ({"text": "t"}, "conversation", None),
    ],
)
def test_rows_meet_only_methods_that_learn_from_them(
    tmp_path: Path, row: dict[str, Any], wanted: str, code: str | None
) -> None:
    report = checked(tmp_path, row, wanted=wanted)
    found = [p for p in report.problems() if p.severity == "stop"]
    assert [p.code for p in found] == ([code] if code else [])
    assert all(str(problem.fix) for problem in found)


@pytest.mark.parametrize("name", [n for n in PAIRS if n not in ("openai", "rejected response")])
def test_the_way_to_learn_the_chosen_answers_alone_works(tmp_path: Path, name: str) -> None:
    (problem,) = checked(tmp_path, PAIRS[name], wanted="conversation").problems()
    words = str(problem.fix).rsplit("set ", 1)[1].removesuffix(".").split()
    options = dict(zip(words[::2], words[1::2], strict=True))
    columns = {
        key.removeprefix("--data.columns."): value
        for key, value in options.items()
        if key != "--data.format"
    }
    example = one(tmp_path, PAIRS[name], format=options["--data.format"], columns=columns)
    assert isinstance(example, Conversation)
    assert example.messages == (USER, CHOSEN)


def test_the_refusal_names_the_methods_that_learn_from_the_rows(tmp_path: Path) -> None:
    from tunery.config.methods import METHODS

    for row, kind in ((PAIRS["texts"], "pair"), (CHAT, "conversation")):
        wanted = "conversation" if kind == "pair" else "pair"
        (problem,) = checked(tmp_path, row, wanted=wanted).problems()
        for method in METHODS:
            name = method.model_fields["type"].default
            assert bool(re.search(rf"\b{name}\b", str(problem.fix))) == (method.rows == kind)
        assert re.match(r"Train with --method\.type \w+( \(or [\w, ]+\))?\.", str(problem.fix))


def registry(folder: Path, rows: list[dict[str, Any]], **entry: Any) -> DataConfig:
    (folder / "one.json").write_text(json.dumps(rows), encoding="utf-8")
    info = {"one": {"file_name": "one.json", **entry}}
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    return DataConfig(catalog=folder)


@pytest.mark.parametrize(
    ("row", "entry"),
    [
        (PAIRS["alpaca"], {"ranking": True}),
        (
            {"ask": "q", "good": "a", "bad": "b"},
            {"ranking": True, "columns": {"prompt": "ask", "chosen": "good", "rejected": "bad"}},
        ),
        (PAIRS["sharegpt"], {"ranking": True, "formatting": "sharegpt"}),
        (
            {"talk": [ASK], "chosen": GOOD, "rejected": BAD},
            {
                "ranking": True,
                "formatting": "sharegpt",
                "columns": {"messages": "talk"},
                "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user"},
            },
        ),
    ],
)
def test_ranking_entries_of_a_llama_factory_catalog_are_pairs(
    tmp_path: Path, row: dict[str, Any], entry: dict[str, Any]
) -> None:
    pair: Any = read(["one"], registry(tmp_path, [row], **entry))[0]
    assert pair.prompt.messages == (USER,)
    assert (pair.chosen, pair.rejected) == ((CHOSEN,), (REJECTED,))


@pytest.mark.parametrize(
    ("row", "entry"),
    [
        (
            {"instruction": "q", "output": "a", "tag": False},
            {"columns": {"prompt": "instruction", "response": "output", "kto_tag": "tag"}},
        ),
        (
            {"messages": [ASK, GOOD], "label": False},
            {
                "formatting": "sharegpt",
                "columns": {"messages": "messages", "kto_tag": "label"},
                "tags": {
                    "role_tag": "role",
                    "content_tag": "content",
                    "user_tag": "user",
                    "assistant_tag": "assistant",
                },
            },
        ),
    ],
)
def test_kto_entries_of_a_llama_factory_catalog_are_labelled(
    tmp_path: Path, row: dict[str, Any], entry: dict[str, Any]
) -> None:
    example: Any = read(["one"], registry(tmp_path, [row], **entry))[0]
    assert example.conversation.messages == (USER, CHOSEN)
    assert example.label is False


def test_placeholders_of_a_pair_are_filled_everywhere(tmp_path: Path) -> None:
    row = {"prompt": "who, {{name}}?", "chosen": "I am {{name}}", "rejected": "not {{name}}"}
    with pytest.raises(DataError, match=r"\{\{name\}\}"):
        one(tmp_path, row)
    pair = one(tmp_path, row, variables={"name": "Tuna"})
    assert pair.prompt.messages[0].content == "who, Tuna?"
    assert pair.chosen[0].content == "I am Tuna"
    assert pair.rejected[0].content == "not Tuna"


@pytest.mark.parametrize(
    "row",
    [
        *PAIRS.values(),
        {"prompt": "q", "chosen": "a b", "rejected": "a  b"},
        {"prompt": "q", "chosen": " ", "rejected": "b"},
        {**PAIRS["texts"], "margin": "big"},
        {**PAIRS["texts"], "system": "S"},
    ],
)
def test_a_pair_that_the_quick_test_accepts_also_converts(row: dict[str, Any]) -> None:
    format = FORMATS.get("preference")
    if format.plain(RowOptions())(row):
        pair: Any = format.convert(row, RowOptions(), None)
        assert list(row_kind(pair).findings(pair)) == []
    assert format.plain(RowOptions())(PAIRS["texts"])


def test_labels_are_looked_at_again_after_rows_were_left_out(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": "q", "completion": f"a{i}", "label": i % 2 == 0} for i in range(6)]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    found = read([str(file)], DataConfig(train=[str(file)]), wanted="labelled")
    check_kept("labelled", found, range(6))
    with pytest.raises(DataError) as caught:
        check_kept("labelled", found, [0, 2, 4])
    assert caught.value.code == "E506"
