"""Each format turns its rows into the same conversations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunery.data.formats import FORMATS, RowOptions
from tunery.data.formats.detect import detect
from tunery.data.problems import RowProblem
from tunery.errors import UnknownName
from tunery.types import Conversation, Message, Text, ToolCall

TURNS = (Message("user", "q"), Message("assistant", "a"))


def convert(name: str, row: dict[str, Any], **options: Any) -> Any:
    return FORMATS.get(name).convert(row, RowOptions(**options), None)


def messages(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


SAME = [
    ("alpaca", {"instruction": "q", "output": "a"}),
    ("alpaca", {"instruction": "q", "input": "", "output": "a", "system": None, "history": []}),
    ("alpaca", {"instruction": "", "input": "q", "output": "a"}),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    ),
    ("sharegpt", {"conversations": messages(("user", "q"), ("assistant", "a"))}),
    ("openai", {"messages": messages(("user", "q"), ("assistant", "a")), "tools": None}),
    (
        "openai",
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "q"}]},
                {"role": "assistant", "content": "a"},
            ]
        },
    ),
    ("prompt_completion", {"prompt": "q", "completion": "a"}),
    (
        "prompt_completion",
        {"prompt": messages(("user", "q")), "completion": messages(("assistant", "a"))},
    ),
]


@pytest.mark.parametrize(("name", "row"), SAME)
def test_the_same_question_and_answer_in_every_format(name: str, row: dict[str, Any]) -> None:
    assert convert(name, row).messages == TURNS


@pytest.mark.parametrize(("name", "row"), SAME)
def test_a_row_is_detected_as_what_it_is(name: str, row: dict[str, Any]) -> None:
    assert detect([row], RowOptions()) == name


@pytest.mark.parametrize(("name", "row"), SAME)
def test_a_row_that_the_quick_test_accepts_also_converts(name: str, row: dict[str, Any]) -> None:
    if FORMATS.get(name).plain(RowOptions())(row):
        assert convert(name, row).messages == TURNS


def test_alpaca_puts_system_and_history_first_and_input_below_the_instruction() -> None:
    row = {
        "instruction": "q",
        "input": "more",
        "output": "a",
        "system": "be kind",
        "history": [["q0", "a0"]],
    }
    assert convert("alpaca", row).messages == (
        Message("system", "be kind"),
        Message("user", "q0"),
        Message("assistant", "a0"),
        Message("user", "q\nmore"),
        Message("assistant", "a"),
    )


def test_columns_may_have_other_names() -> None:
    row = {"question": "q", "answer": "a"}
    columns = {"instruction": "question", "output": "answer"}
    assert convert("alpaca", row, columns=columns).messages == TURNS
    assert FORMATS.get("alpaca").plain(RowOptions(columns=columns))(row)


def test_sharegpt_reads_tools_calls_and_observations() -> None:
    call = {"name": "add", "arguments": {"x": "1", "y": [2]}}
    row = {
        "conversations": [
            {"from": "human", "value": "q"},
            {"from": "function_call", "value": json.dumps(call)},
            {"from": "observation", "value": "3"},
            {"from": "gpt", "value": "a"},
        ],
        "tools": json.dumps([{"name": "add"}]),
        "system": "s",
    }
    found = convert("sharegpt", row)
    assert found == Conversation(
        (
            Message("system", "s"),
            Message("user", "q"),
            Message("assistant", "", tool_calls=(ToolCall("add", {"x": "1", "y": [2]}),)),
            Message("tool", "3"),
            Message("assistant", "a"),
        ),
        tools=({"name": "add"},),
    )


def test_tags_of_a_registry_rename_roles_and_keys() -> None:
    row = {"conversations": [{"who": "P1", "said": "q"}, {"who": "P2", "said": "a"}]}
    tags = {"role_tag": "who", "content_tag": "said", "user_tag": "P1", "assistant_tag": "P2"}
    assert convert("sharegpt", row, tags=tags).messages == TURNS


def test_openai_keeps_thinking_weights_names_and_calls() -> None:
    row = {
        "messages": [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": "q", "name": "ann"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "weight": 0,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a": 1}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "r", "name": "f"},
            {"role": "assistant", "content": "<think>x</think>a", "train": True},
        ]
    }
    found = convert("openai", row).messages
    assert found[0] == Message("system", "s")
    assert found[2] == Message(
        "assistant", "", thinking="hm", tool_calls=(ToolCall("f", {"a": 1}, "c1"),), train=False
    )
    assert found[3] == Message("tool", "r", tool_call_id="c1", name="f")
    assert found[4] == Message("assistant", "<think>x</think>a", train=True)


def test_neighbours_of_one_role_are_joined_only_when_asked() -> None:
    row = {"messages": messages(("user", "one"), ("user", "two"), ("assistant", "a"))}
    with pytest.raises(RowProblem) as caught:
        convert("openai", row)
    assert caught.value.code == "E402"
    joined = convert("openai", row, merge_same_role=True).messages
    assert joined == (Message("user", "one\n\ntwo"), Message("assistant", "a"))


def test_numbers_and_objects_become_text_only_when_asked() -> None:
    row = {"instruction": "q", "output": {"b": 1, "a": [True, None]}}
    found = convert("alpaca", row, coerce={"output": "json"})
    assert found.messages[-1].content == '{"a": [true, null], "b": 1}'
    row = {"instruction": 7, "output": True}
    found = convert("alpaca", row, coerce={"instruction": "text", "output": "text"})
    assert [message.content for message in found.messages] == ["7", "true"]


def test_plain_text_is_kept_as_it_is() -> None:
    assert convert("text", {"text": " a\nb "}) == Text(" a\nb ")


def test_preference_rows_are_told_apart_from_what_they_also_look_like() -> None:
    row = {"instruction": "q", "output": "x", "chosen": "a", "rejected": "b"}
    assert detect([row], RowOptions()) == "preference"
    labelled = {"messages": messages(("user", "q"), ("assistant", "a")), "label": True}
    assert detect([labelled], RowOptions()) == "unpaired"
    with_label = {"instruction": "q", "output": "a", "label": "spam"}
    assert detect([with_label], RowOptions()) == "alpaca"


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownName) as caught:
        FORMATS.get("alpacca")
    assert "Did you mean alpaca?" in caught.value.fix
