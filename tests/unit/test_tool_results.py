"""A tool's result answers a call that stands before it (D8)."""

from __future__ import annotations

from typing import Any

import pytest

from tunery.data.formats import FORMATS, RowOptions
from tunery.data.problems import RowProblem
from tunery.types import Conversation

USER = {"role": "user", "content": "q"}
RESULT = {"role": "tool", "content": "20"}
ANSWER = {"role": "assistant", "content": "a"}
CALL = {"function": {"name": "f", "arguments": "{}"}}


def converted(*messages: dict[str, Any]) -> Conversation:
    example = FORMATS.get("openai").convert({"messages": list(messages)}, RowOptions(), None)
    assert isinstance(example, Conversation)
    return example


@pytest.mark.parametrize(
    ("messages", "at"),
    [
        ((USER, RESULT, ANSWER), 1),
        ((RESULT, ANSWER), 0),
        ((USER, ANSWER, RESULT, ANSWER), 2),
        ((USER, {**ANSWER, "tool_calls": [CALL]}, RESULT, RESULT, ANSWER), 3),
        ((USER, {**ANSWER, "tool_calls": [CALL]}, USER, RESULT, ANSWER), 3),
    ],
)
def test_a_result_without_a_call_is_refused_with_its_number(
    messages: tuple[dict[str, Any], ...], at: int
) -> None:
    with pytest.raises(RowProblem) as caught:
        converted(*messages)
    assert (caught.value.code, caught.value.field) == ("E414", f"messages[{at}]")
    assert str(caught.value.found) == f"messages[{at}]: tool result without a preceding call"


@pytest.mark.parametrize(
    "call",
    [
        {"content": None, "tool_calls": [CALL]},
        {"content": '<tool_call>\n{"name": "f"}\n</tool_call>'},
        {"content": 'Let me look.\n{"name": "f", "arguments": {}}'},
        {"content": "Thought: hm\nAction: f\nAction Input: {}"},
        {"content": "[f(x=1)]"},
    ],
)
def test_a_call_may_be_spelled_as_text(call: dict[str, Any]) -> None:
    assert len(converted(USER, {**ANSWER, **call}, RESULT, ANSWER).messages) == 4


def test_an_observation_needs_its_function_call_turn() -> None:
    turns = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
        {"from": "observation", "value": "20"},
        {"from": "gpt", "value": "a"},
    ]
    convert = FORMATS.get("sharegpt").convert
    assert isinstance(convert({"conversations": turns}, RowOptions(), None), Conversation)
    with pytest.raises(RowProblem, match="E414"):
        convert({"conversations": [turns[0], *turns[2:]]}, RowOptions(), None)
