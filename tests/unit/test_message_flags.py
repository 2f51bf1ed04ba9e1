"""What a row says of its own messages' loss is obeyed, or the row is refused by name (D3, D5)."""

from __future__ import annotations

from typing import Any

import pytest

from tunery.data.formats import FORMATS, RowOptions
from tunery.data.problems import RowProblem
from tunery.types import Conversation, ToolCall


def converted(row: dict[str, Any], name: str = "openai") -> Conversation:
    example = FORMATS.get(name).convert(row, RowOptions(), None)
    assert isinstance(example, Conversation)
    return example


def talk(answer: dict[str, Any], question: dict[str, Any] | None = None) -> dict[str, Any]:
    first = {"role": "user", "content": "q", **(question or {})}
    return {"messages": [first, {"role": "assistant", "content": "answer", **answer}]}


def detail(*parts: tuple[int, int, bool]) -> dict[str, Any]:
    return {"train_detail": [{"begin_offset": a, "end_offset": b, "train": t} for a, b, t in parts]}


def texts(*flags: dict[str, Any]) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": "x", **each} for each in flags]}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, None),
        ({"loss": False}, False),
        ({"loss": True}, True),
        ({"loss": None}, None),
        ({"loss_scale": 0}, False),
        ({"loss_scale": 1.0}, True),
        ({"masked": True}, False),
        ({"masked": False}, None),
        ({"training": False}, False),
        ({"loss_mask": 0}, False),
        ({"loss_mask": 1}, True),
        ({"trainable": False}, False),
        ({"train_on": False}, False),
        ({"ignore": True}, False),
        ({"ignore": False}, None),
        ({"train": False, "loss": False}, False),
        (detail((0, 5, False)), False),
        (detail((0, 2, False), (3, 5, False)), False),
        (detail((0, 5, True)), True),
        (texts({"train": False}, {"weight": 0}), False),
        (texts({"train": True}, {}), True),
        (texts({}, {}), None),
    ],
)
def test_a_flag_of_an_answer_is_obeyed(flags: dict[str, Any], expected: bool | None) -> None:
    assert converted(talk(flags)).messages[1].train is expected


@pytest.mark.parametrize(
    ("flags", "code", "field"),
    [
        ({"loss_scale": 0.5}, "E304", "messages[1].loss_scale"),
        ({"masked": "yes"}, "E304", "messages[1].masked"),
        ({"train": True, "loss": False}, "E420", "messages[1]"),
        ({"weight": 1, "masked": True}, "E420", "messages[1]"),
        ({"mask": True}, "E420", "messages[1].mask"),
        ({"mask": 0, "train": True}, "E420", "messages[1].mask"),
        ({"loss_mask": [0, 1]}, "E304", "messages[1].loss_mask"),
        (texts({"mask": 1}), "E420", "messages[1].content[0].mask"),
        (detail((0, 2, False)), "E420", "messages[1].train_detail"),
        ({"train_detail": [{"begin_offset": 0}]}, "E304", "messages[1].train_detail[0]"),
        (texts({"train": False}, {}), "E420", "messages[1].content"),
        (texts({"train": False}) | {"train": True}, "E420", "messages[1].content"),
    ],
)
def test_a_flag_that_cannot_be_obeyed_refuses_the_row(
    flags: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(RowProblem) as caught:
        converted(talk(flags))
    assert (caught.value.code, caught.value.field) == (code, field)
    assert str(caught.value.fix)


def test_loss_true_on_a_question_does_not_train_it_and_train_true_does() -> None:
    assert converted(talk({}, {"loss": True})).messages[0].train is None
    assert converted(talk({}, {"train": True})).messages[0].train is True


def test_sharegpt_turns_have_the_same_flags() -> None:
    turns = [
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "bad", "loss": False},
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "bad", **detail((0, 2, False))},
    ]
    messages = converted({"conversations": turns}, "sharegpt").messages
    assert [m.train for m in messages] == [None, False, None, False]


CALL = {"name": "weather", "arguments": '{"city":"Rome"}'}


@pytest.mark.parametrize("content", [None, "", "Let me check."])
def test_the_old_function_call_is_a_tool_call(content: str | None) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "w?"},
            {"role": "assistant", "content": content, "function_call": CALL},
            {"role": "function", "name": "weather", "content": "20"},
            {"role": "assistant", "content": "20C", "function_call": None},
        ],
        "functions": [{"name": "weather", "parameters": {}}],
    }
    example = converted(row)
    assert example.messages[1].content == (content or "")
    assert example.messages[1].tool_calls == (ToolCall("weather", {"city": "Rome"}),)
    assert example.messages[3].tool_calls == ()


def test_both_kinds_of_call_in_one_message_are_refused() -> None:
    answer = {"function_call": CALL, "tool_calls": [{"function": CALL}]}
    with pytest.raises(RowProblem, match="E412"):
        converted(talk(answer))
