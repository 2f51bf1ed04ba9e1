"""Conversations that begin with the assistant, and first messages that are trained themselves."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.families import family

from tunery.chat import builtin
from tunery.chat.template import ChatTemplate
from tunery.errors import DataError
from tunery.types import Conversation, Message

GREETING = Message("assistant", "Hello! How can I help?")
TALK = Conversation((GREETING, Message("user", "hi"), Message("assistant", "bye")))
OWN_SYSTEM = """
{%- for message in messages -%}
{%- if loop.first and messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are Zq.<|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' -}}{% endif -%}
"""
OPENS_THINKING = OWN_SYSTEM.replace("assistant\\n'", "assistant\\n<think>\\n'")
STRICT = (
    "{%- if messages[0]['role'] != 'user' -%}"
    "{{- raise_exception('Conversation roles must alternate user/assistant') -}}"
    "{%- endif -%}" + OWN_SYSTEM
)


def template(source: str, words: str = "chatml") -> ChatTemplate:
    tokenizer: Any = copy.copy(family(words))
    tokenizer.chat_template = source
    return ChatTemplate.load(tokenizer)


def trained(of: ChatTemplate, row: Any) -> list[str]:
    """The trained stretches, as text."""
    found: list[list[int]] = [[]]
    for token, inside in zip(row.input_ids, row.loss_mask, strict=True):
        if inside:
            found[-1].append(token)
        elif found[-1]:
            found.append([])
    return [of.tokenizer.decode(part) for part in found if part]


def test_a_greeting_is_trained_after_the_templates_own_beginning() -> None:
    found = template(OWN_SYSTEM)
    (row,) = found.render(TALK)
    assert row.text == (
        "<|im_start|>system\nYou are Zq.<|im_end|>\n<|im_start|>assistant\nHello! How can I help?"
        "<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nbye<|im_end|>\n"
    )
    assert trained(found, row) == ["Hello! How can I help?<|im_end|>", "bye<|im_end|>"]


@pytest.mark.parametrize("name", ["qwen2.5", "chatml", "alpaca"])
def test_built_in_templates_train_a_greeting_with_its_end(name: str) -> None:
    found = template(builtin.find(name).text, name)
    (row,) = found.render(TALK)
    end = found.tokenizer.convert_ids_to_tokens(found.stop_id)
    assert trained(found, row) == [f"Hello! How can I help?{end}", f"bye{end}"]


def test_an_empty_think_block_of_a_greeting_is_part_of_the_answer() -> None:
    found = template(builtin.find("qwen3").text, "qwen3")
    row = found.render(TALK)[0]
    assert trained(found, row) == ["<think>\n\n</think>\n\nHello! How can I help?<|im_end|>"]


def test_a_greeting_where_the_prompt_opens_a_think_block_closes_it() -> None:
    found = template(OPENS_THINKING, "qwen3")
    row = found.render(TALK)[0]
    assert row.text.startswith(
        "<|im_start|>system\nYou are Zq.<|im_end|>\n<|im_start|>assistant\n<think>\n"
    )
    assert trained(found, row)[0].endswith("</think>\n\nHello! How can I help?<|im_end|>")


def test_a_template_that_wants_a_user_first_refuses_by_name() -> None:
    with pytest.raises(DataError, match="roles must alternate") as caught:
        template(STRICT).render(TALK)
    assert caught.value.code == "E416"


OWN_BEGINNINGS = {
    "own system": (OWN_SYSTEM, "chatml"),
    "own system, refuses none": (STRICT, "chatml"),
    "opens thinking": (OPENS_THINKING, "qwen3"),
}
"""Templates that write a system message of their own where a conversation has none."""


@pytest.mark.parametrize(
    ("name", "header", "end"),
    [
        ("own system", "<|im_start|>user\n", "<|im_end|>\n"),
        ("own system, refuses none", "<|im_start|>user\n", "<|im_end|>\n"),
        ("opens thinking", "<|im_start|>user\n", "<|im_end|>\n"),
        ("chatml", "<|im_start|>user\n", "<|im_end|>\n"),
        ("qwen2.5", "<|im_start|>user\n", "<|im_end|>\n"),
        ("qwen3", "<|im_start|>user\n", "<|im_end|>\n"),
        ("llama3", "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
        ("mistral", "[INST]  ", "[/INST]"),  # decoding adds a space after a control token
        ("gemma", "<start_of_turn>user\n", "<end_of_turn>\n"),
        ("glm4", "<|user|>\n", ""),
        ("alpaca", "### Instruction:\n", "\n\n### Response:\n"),
    ],
)
def test_a_first_question_is_trained_as_a_later_one_without_the_templates_beginning(
    name: str, header: str, end: str
) -> None:
    source, words = OWN_BEGINNINGS.get(name) or (builtin.find(name).text, name)
    found = template(source, words)
    asked = Message("user", "hi", train=True)
    silent = (Message("user", "Q"), Message("assistant", "A", train=False))
    last = Message("assistant", "bye", train=False)
    (first,) = found.render(Conversation((asked, last)))
    assert trained(found, first) == [f"{header}hi{end}"]
    if name != "qwen3":  # writes its last answer differently, so a later question has no place
        (later,) = found.render(Conversation((*silent, asked, last)))
        assert trained(found, later) == trained(found, first)
    told = [Message("user", "hi", train=False), Message("assistant", "bye")]
    (rest,) = found.render(Conversation(tuple(told)), loss_on="all")
    left_out = [t for t, inside in zip(rest.input_ids, rest.loss_mask, strict=True) if not inside]
    assert found.tokenizer.decode(left_out) == f"{header}hi{end}"


def test_a_first_question_keeps_out_tools_that_the_template_writes_before_it() -> None:
    found = template(builtin.find("qwen2.5").text, "qwen2.5")
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    talk = (Message("user", "hi", train=True), Message("assistant", "bye"))
    (row,) = found.render(Conversation(talk, (tool,)))
    assert trained(found, row) == ["<|im_start|>user\nhi<|im_end|>\n", "bye<|im_end|>"]


def test_a_token_that_spans_the_templates_beginning_and_the_question_is_not_trained() -> None:
    source = OWN_SYSTEM.replace("<|im_end|>\\n' -}}", "\\n' -}}", 1)
    source = source.replace("'<|im_start|>' + message['role'] + '\\n'", "'\\n'")
    found = template(source)
    talk = (Message("user", "hi", train=True), Message("assistant", "bye", train=False))
    (row,) = found.render(Conversation(talk))
    assert trained(found, row)[0].endswith("hi<|im_end|>\n")
    assert "Zq" not in trained(found, row)[0]


def test_a_greeting_that_is_not_trained_is_left_out_of_a_text_trained_whole() -> None:
    silent = Message("assistant", GREETING.content, train=False)
    found = template(OWN_SYSTEM)
    (row,) = found.render(Conversation((silent, *TALK.messages[1:])), loss_on="all")
    left_out = [t for t, inside in zip(row.input_ids, row.loss_mask, strict=True) if not inside]
    assert found.tokenizer.decode(left_out) == "Hello! How can I help?<|im_end|>\n"
