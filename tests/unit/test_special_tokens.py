"""Special tokens that rows spell: text by default, the tokens themselves where that is set."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.families import family

from tunery.chat import builtin
from tunery.chat.remarks import STOPS_INSIDE
from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig
from tunery.data.tokenize import tokenize
from tunery.types import Conversation, Message, Text

RENDERED = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>"
TOKENS = DataConfig(special_tokens="tokens")


@pytest.fixture
def words() -> Any:
    tokenizer = copy.copy(family("chatml"))
    tokenizer.chat_template = builtin.find("chatml").text
    return tokenizer


def ids(example: Any, words: Any, data: DataConfig) -> list[int]:
    (row,) = tokenize(example, ChatTemplate.load(words), words, data).rows
    return row.input_ids


def test_a_text_of_another_tool_is_the_tokens_that_it_was_with_one_end(words: Any) -> None:
    as_tokens = ids(Text(RENDERED), words, TOKENS)
    assert as_tokens == words.encode(RENDERED, add_special_tokens=False)
    assert as_tokens[-1] == words.eos_token_id
    assert ids(Text(RENDERED + "\n"), words, TOKENS) == words.encode(RENDERED + "\n")
    as_text = ids(Text(RENDERED), words, DataConfig())
    assert words.convert_tokens_to_ids("<|im_start|>") not in as_text
    assert len(as_text) > len(as_tokens) + 20


def test_a_text_that_does_not_end_gets_its_end(words: Any) -> None:
    assert ids(Text("hi"), words, TOKENS)[-1] == words.eos_token_id


def test_a_bos_that_is_spelled_is_not_doubled() -> None:
    words = family("llama3")
    found = ids(Text("<|begin_of_text|>hi"), words, TOKENS)
    assert found.count(words.bos_token_id) == 1
    assert ids(Text("hi"), words, TOKENS)[0] == words.bos_token_id


def test_a_token_meant_in_an_answer_is_one_trained_token(words: Any) -> None:
    told = Conversation((Message("user", "q"), Message("assistant", "a<|endoftext|>b")))
    meant = words.convert_tokens_to_ids("<|endoftext|>")
    (row,) = tokenize(told, ChatTemplate.load(words), words, TOKENS).rows
    place = row.input_ids.index(meant)
    assert row.loss_mask[place]
    assert meant not in ids(told, words, DataConfig())


def test_an_answer_that_spells_its_own_end_is_said_to_end_there(words: Any) -> None:
    told = Conversation((Message("user", "q"), Message("assistant", "a<|im_end|>b")))
    (row,) = tokenize(told, ChatTemplate.load(words), words, TOKENS).rows
    trained = [i for i, inside in zip(row.input_ids, row.loss_mask, strict=True) if inside]
    assert words.decode(trained) == "a<|im_end|>"
    assert STOPS_INSIDE in row.notes
    (as_text,) = tokenize(told, ChatTemplate.load(words), words, DataConfig()).rows
    assert STOPS_INSIDE not in as_text.notes
