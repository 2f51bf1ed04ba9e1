"""A sample answer that the token limit cuts ends with a whole character."""

from __future__ import annotations

from typing import Any

import pytest
from tests.train import tiny

from tunery.decode.decoder import Answer
from tunery.train.measure import evaluate
from tunery.types import Conversation, Message


class Bytes:
    """A template whose tokens are bytes."""

    stop_ids = frozenset({0})

    def prompt_ids(self, *given: Any, **settings: Any) -> list[int]:
        return [3]

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize(
    ("said", "ending", "shown"),
    [
        ("鹭的".encode()[:-1], "length", "鹭"),
        ("鹭的".encode()[:-2], "length", "鹭"),
        ("鹭的".encode(), "length", "鹭的"),
        (b"a heron", "length", "a heron"),
        ("鹭\ufffd".encode(), "stop", "鹭\ufffd"),
    ],
)
def test_half_a_character_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, said: bytes, ending: Any, shown: str
) -> None:
    monkeypatch.setattr(
        evaluate, "answer_ids", lambda *given, **settings: [Answer(list(said), ending)]
    )
    template: Any = Bytes()
    asked = [Conversation((Message("user", "谁？"),))]
    (answer,) = evaluate.answer_prompts(tiny.model(), template, asked, max_new_tokens=4)
    assert answer.answer == shown
