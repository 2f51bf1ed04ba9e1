"""An empty question is spoken of as a question, an empty answer as an answer (B8)."""

from __future__ import annotations

from typing import Any

import pytest

from tunery.data.formats import FORMATS, RowOptions
from tunery.data.problems import RowProblem


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def talk(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            ("", "a"),
            "The prompt would be empty",
        ),
        (("q", ""), "learn to say nothing"),
    ],
)
@pytest.mark.parametrize("name", ["alpaca", "prompt_completion", "openai", "sharegpt"])
def test_what_is_empty_is_named(name: str, texts: tuple[str, str], words: str) -> None:
    q, a = texts
    rows: dict[str, dict[str, Any]] = {
        "alpaca": {"instruction": q, "output": a},
        "prompt_completion": {"prompt": q, "completion": a},
        "openai": {"messages": turns(q, a)},
        "sharegpt": {"conversations": talk(q, a)},
    }
    with pytest.raises(RowProblem) as caught:
        FORMATS.get(name).convert(rows[name], RowOptions(), None)
    assert caught.value.code == "E302"
    assert words in str(caught.value.fix)
