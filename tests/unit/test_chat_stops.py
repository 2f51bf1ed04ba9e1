"""Where answers end: what closes a message is not what ends an answer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from tests.families import _bytes, family
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from tunery.chat.template import ChatTemplate
from tunery.types import Conversation, Message, ToolCall

HARMONY = (
    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"),
    "<|endoftext|>",
)
# The shape of gpt-oss: several messages in an answer, <|return|> after the last one alone.
HARMONY_TEMPLATE = """
{%- for message in messages -%}
{%- if message.role == 'assistant' and message.tool_calls -%}
{%- if message.thinking -%}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking + '<|end|>' -}}
{%- endif -%}
{%- set call = message.tool_calls[0].function -%}
{{- '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json<|message|>' -}}
{{- (call.arguments | tojson) + '<|call|>' -}}
{%- elif message.role == 'assistant' and loop.last and not add_generation_prompt -%}
{%- if message.thinking -%}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking + '<|end|>' -}}
{%- endif -%}
{{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|return|>' -}}
{%- elif message.role == 'assistant' -%}
{{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' -}}
{%- elif message.role == 'tool' -%}
{{- '<|start|>functions to=assistant<|channel|>commentary<|message|>' -}}
{{- message.content + '<|end|>' -}}
{%- else -%}
{{- '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if tools -%}{{- '' if add_generation_prompt else '' -}}{%- endif -%}
{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}
"""
# The shape of GLM-4.5: nothing ends an answer; the next message's role does.
GLM_MOE = ("<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>")
GLM_MOE_TEMPLATE = """[gMASK]<sop>
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- '<|assistant|>\\n' + (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}
{{- '\\n<tool_call>' + call.function.name + (call.function.arguments | tojson) -}}
{{- '</tool_call>' -}}
{%- endfor -%}
{%- elif message.role == 'tool' -%}{{- '<|observation|>\\n' + message.content -}}
{%- else -%}{{- '<|user|>\\n' + message.content -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}
"""
ASKED = Message("user", "Who are you?")


def tokenizer(special: tuple[str, ...], template: str, eos: str) -> Any:
    backend = _bytes()
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos)
    made.chat_template = template
    return made


def harmony() -> ChatTemplate:
    return ChatTemplate.load(tokenizer(HARMONY, HARMONY_TEMPLATE, "<|return|>"))


def spelled(template: ChatTemplate, ids: Any) -> set[str]:
    return set(template.tokenizer.convert_ids_to_tokens(list(ids)))


def trained(template: ChatTemplate, row: Any) -> str:
    kept = [i for i, mask in zip(row.input_ids, row.loss_mask, strict=True) if mask]
    return template.tokenizer.decode(kept)


def test_a_token_that_closes_a_message_does_not_end_an_answer():
    template = harmony()
    assert "<|end|>" not in spelled(template, template.stop_ids)
    answer = Message("assistant", "I am small.", thinking="They ask my name.")
    (row,) = template.render(Conversation((ASKED, answer)))
    assert trained(template, row) == (
        "<|channel|>analysis<|message|>They ask my name.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>I am small.<|return|>"
    )


def test_each_answer_of_several_turns_is_trained_as_the_model_is_asked():
    template = harmony()
    turns = (ASKED, Message("assistant", "A1"), Message("user", "U2"), Message("assistant", "A2"))
    rows = template.render(Conversation(turns))
    assert [trained(template, row) for row in rows] == [
        "<|channel|>final<|message|>A1<|return|>",
        "<|channel|>final<|message|>A2<|return|>",
    ]


def test_a_call_ends_at_the_token_that_stands_behind_it():
    template = harmony()
    call = Message("assistant", "", tool_calls=(ToolCall("f", {"x": 1}),), thinking="I call f.")
    (row,) = template.render(Conversation((ASKED, call)))
    said = trained(template, row)
    assert said.startswith("<|channel|>analysis<|message|>I call f.<|end|>")
    assert said.endswith('{"x": 1}<|call|>')
    assert "<|call|>" in spelled(template, template.stop_ids)


def test_a_call_that_nothing_closes_ends_where_its_result_begins():
    template = ChatTemplate.load(tokenizer(GLM_MOE, GLM_MOE_TEMPLATE, "<|endoftext|>"))
    call = Message("assistant", "", tool_calls=(ToolCall("f", {"x": 1}),))
    (row,) = template.render(Conversation((ASKED, call)))
    assert trained(template, row).endswith("</tool_call><|observation|>")
    assert "<|observation|>" in spelled(template, template.stop_ids)


def saved(folder: Path, **files: Any) -> Any:
    words = copy.deepcopy(family("chatml"))
    words.chat_template = ChatTemplate.load(words, "chatml").source
    words.save_pretrained(folder)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return PreTrainedTokenizerFast.from_pretrained(folder)


def test_end_tokens_of_the_config_count_where_there_are_no_settings_for_generation(tmp_path):
    own = saved(tmp_path / "a", config={"eos_token_id": [5, 7]})
    assert {5, 7} <= ChatTemplate.load(own).stop_ids
    both = saved(
        tmp_path / "b", config={"eos_token_id": [5, 7]}, generation_config={"eos_token_id": 9}
    )
    assert 9 in ChatTemplate.load(both).stop_ids
    assert not {5, 7} & ChatTemplate.load(both).stop_ids


def test_end_tokens_of_the_base_count_for_an_adapter_with_a_tokenizer_of_its_own(tmp_path):
    saved(tmp_path / "base", config={"eos_token_id": [5, 7]})
    own = saved(tmp_path / "adapter")
    assert not {5, 7} & ChatTemplate.load(own).stop_ids
    assert {5, 7} <= ChatTemplate.load(own, model=tmp_path / "base").stop_ids


def test_end_tokens_of_a_text_config_count_where_the_config_names_none(tmp_path):
    own = saved(tmp_path / "a", config={"text_config": {"eos_token_id": [5, 7]}})
    assert {5, 7} <= ChatTemplate.load(own).stop_ids


def test_an_added_word_is_a_word_and_a_special_token_steers():
    words = copy.deepcopy(family("chatml"))
    words.add_tokens(["newword", "<|fim|>"])
    words.chat_template = ChatTemplate.load(words, "chatml").source
    template = ChatTemplate.load(words)
    asked = [{"role": "user", "content": "What is newword?"}]
    prompt = template.prompt_ids([Message("user", "What is newword?")])
    assert prompt == words.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    assert words.convert_tokens_to_ids("newword") in prompt
    for spelling in ("<|im_end|>", "<|fim|>"):
        ids = template.prompt_ids([Message("user", f"a {spelling} b")])
        plain = template.prompt_ids([Message("user", "a b")])
        token = words.convert_tokens_to_ids(spelling)
        assert ids.count(token) == plain.count(token)
