"""``own+hermes``: tools written as text into a chat template that has no place for them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from tests.families import family

from tunery.chat import builtin
from tunery.chat.template import ChatTemplate
from tunery.chat.tool_calls import syntax_of
from tunery.errors import DataError, ModelError
from tunery.types import Conversation, Message, ToolCall

PLAIN = """
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' -}}{% endif -%}
"""
TOOL = {
    "name": "f",
    "description": "ends <|im_end|> here",
    "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
}
CALLS = Conversation(
    (
        Message("user", "q"),
        Message("assistant", "", tool_calls=(ToolCall("f", {"x": "ü"}), ToolCall("f", {"x": "2"}))),
        Message("tool", "one"),
        Message("tool", "two"),
        Message("assistant", "done"),
    ),
    tools=(TOOL,),
)


def own(source: str | None = PLAIN) -> Any:
    tokenizer = copy.copy(family("chatml"))
    tokenizer.chat_template = source
    return tokenizer


def test_tools_calls_and_results_are_text_and_only_the_answers_are_trained() -> None:
    template = ChatTemplate.load(own(), "own+hermes")
    (row,) = template.render(CALLS)
    head, _, talk = row.text.partition("<|im_start|>user\n")
    shown = json.dumps({"type": "function", "function": TOOL}, ensure_ascii=False)
    assert head.startswith("<|im_start|>system\n# Tools\n")
    assert f"<tools>\n{shown}\n</tools>" in head
    assert talk == (
        'q<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{"name": "f", "arguments": {"x": "ü"}}\n'
        '</tool_call>\n<tool_call>\n{"name": "f", "arguments": {"x": "2"}}\n</tool_call>'
        "<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n"
        "</tool_response><|im_end|>\n<|im_start|>assistant\ndone<|im_end|>\n"
    )
    trained = [i for i, inside in zip(row.input_ids, row.loss_mask, strict=True) if inside]
    said = template.tokenizer.decode(trained)
    assert said.startswith('<tool_call>\n{"name": "f"')
    assert said.endswith("</tool_call><|im_end|>done<|im_end|>")
    ends = row.input_ids.count(template.tokenizer.convert_tokens_to_ids("<|im_end|>"))
    assert ends == 5  # the one in the tool's description is text
    assert syntax_of(template.source).name == syntax_of(builtin.find("qwen2.5").text).name
    assert "hermes" in template.notices[0]


def test_the_rows_own_system_message_stays_in_front_of_the_tools() -> None:
    told = Conversation((Message("system", "Be brief."), *CALLS.messages), tools=CALLS.tools)
    (row,) = ChatTemplate.load(own(), "own+hermes").render(told)
    assert row.text.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n")
    assert row.text.count("<|im_start|>system") == 1


def test_without_tools_nothing_changes() -> None:
    told = Conversation((Message("user", "q"), Message("assistant", "a")))
    with_tools = ChatTemplate.load(own(), "own+hermes").render(told)
    assert with_tools == ChatTemplate.load(own()).render(told)


def test_what_is_kept_with_a_result_renders_the_same_and_is_not_doubled() -> None:
    first = ChatTemplate.load(own(), "own+hermes")
    kept = own(first.chat_template)
    messages = [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
        },
        {"role": "tool", "content": "one"},
        {"role": "assistant", "content": "done"},
    ]
    tool = {"type": "function", "function": {**TOOL, "description": "d"}}
    theirs = kept.apply_chat_template(messages, tools=[tool], tokenize=False)
    call = Message("assistant", "", tool_calls=(ToolCall("f", {}),))
    talk = (Message("user", "q"), call, Message("tool", "one"), Message("assistant", "done"))
    (row,) = first.render(Conversation(talk, tools=(tool,)))
    assert row.text == theirs
    assert ChatTemplate.load(kept, "own+hermes").source == first.source


def test_it_needs_a_template_of_the_models_own_that_writes_system_messages() -> None:
    with pytest.raises(ModelError, match="no chat template of its own"):
        ChatTemplate.load(own(None), "own+hermes")
    deaf = PLAIN.replace("in messages", "in messages if message['role'] != 'system'")
    with pytest.raises(DataError) as caught:
        ChatTemplate.load(own(deaf), "own+hermes").render(CALLS)
    assert caught.value.code == "E415"
