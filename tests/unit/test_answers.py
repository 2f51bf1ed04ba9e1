"""Answers taken apart: every family's calls, thinking, and text that only looks like a call."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunery.chat import tool_calls
from tunery.chat.answers import AnswerReader, Content, Thought
from tunery.chat.builtin import find
from tunery.chat.tool_calls import (
    DEEPSEEK,
    FORCED,
    GLM4,
    HERMES,
    KIMI,
    LLAMA3,
    MISTRAL,
    PHI,
    CallArguments,
    CallBegun,
    Syntax,
    syntax_of,
)

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            },
        },
    }
    for name in ("weather", "function_x")
]
ARGS = {"city": 'Pa"r}is </tool_call>', "days": 3}
PLAIN_ARGS = {"city": "Paris", "days": 3}
TEXT = json.dumps(ARGS, ensure_ascii=False)
DSK = ("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>")

# family, text, content, calls
CASES: list[tuple[Syntax, str, str, list[tuple[str, object]]]] = [
    (HERMES, f'<tool_call>\n{{"name": "weather", "arguments": {TEXT}}}\n</tool_call>', "",
     [("weather", ARGS)]),
    (HERMES, f'Let me see.\n\n<tool_call>{{"arguments": {TEXT}, "name": "weather"}}</tool_call>\n'
     f'<tool_call>\n{{"name": "function_x", "arguments": {{}}}}\n</tool_call>', "Let me see.",
     [("weather", ARGS), ("function_x", {})]),
    (HERMES, '<tool_call>{"name": "weather"}</tool_call>', "", [("weather", {})]),
    (HERMES, '<tool_call>{"name": "weather", "arguments": null}</tool_call> ok', "ok",
     [("weather", {})]),
    (HERMES, '<tool_call>{"name": "weather", "arguments": "{\\"days\\": 1}"}</tool_call>', "",
     [("weather", {"days": 1})]),
    (HERMES, '<tool_call>{"type": "function", "function": {"name": "weather", "arguments": '
     '{"days": 1}}}</tool_call>', "", [("weather", {"days": 1})]),
    (HERMES, '<tool_call>[{"name": "weather", "arguments": {"days": 1}}, {"name": "weather", '
     '"arguments": {"days": 2}}]</tool_call>', "",
     [("weather", {"days": 1}), ("weather", {"days": 2})]),
    (HERMES, '<tool_call>{"name": "weather", "arguments": {"days": 1}}}</tool_call>', "",
     [("weather", {"days": 1})]),
    (HERMES, "<tool_call>\n<function=weather>\n<parameter=city>\n12\n</parameter>\n"
     "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>", "",
     [("weather", {"city": "12", "days": 3})]),
    (HERMES, "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
     "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>", "",
     [("weather", PLAIN_ARGS)]),
    (HERMES, '{"name": "weather", "arguments": {}}', '{"name": "weather", "arguments": {}}', []),
    (LLAMA3, f'{{"name": "weather", "parameters": {TEXT}}}', "", [("weather", ARGS)]),
    (LLAMA3, '<|python_tag|>{"name": "weather", "parameters": {"days": 1}}; {"name": "weather", '
     '"parameters": {"days": 2}}', "", [("weather", {"days": 1}), ("weather", {"days": 2})]),
    (LLAMA3, '{"type": "function", "name": "weather", "parameters": {"days": 1}}', "",
     [("weather", {"days": 1})]),
    (LLAMA3, '{"name": "Bob", "parameters": 3} is', '{"name": "Bob", "parameters": 3} is', []),
    (LLAMA3, '{"answer": 42}', '{"answer": 42}', []),
    (LLAMA3, "[1, 2, 3]", "[1, 2, 3]", []),
    (LLAMA3, "{not json", "{not json", []),
    (MISTRAL, f'[TOOL_CALLS] [{{"name": "weather", "arguments": {TEXT}, "id": "abcdefghi"}}, '
     '{"name": "function_x", "arguments": {}, "id": "abcdefghj"}]', "",
     [("weather", ARGS), ("function_x", {})]),
    (MISTRAL, f"[TOOL_CALLS]weather[ARGS]{TEXT}[TOOL_CALLS]function_x[CALL_ID]abcdefghi[ARGS]{{}}",
     "", [("weather", ARGS), ("function_x", {})]),
    (DEEPSEEK, f"{DSK[0]}function{DSK[1]}weather\n```json\n{TEXT}\n```{DSK[2]}\n"
     f"<｜tool▁call▁begin｜>function{DSK[1]}function_x\n```json\n{{}}\n```{DSK[2]}"
     "<｜tool▁calls▁end｜>", "", [("weather", ARGS), ("function_x", {})]),
    (DEEPSEEK, f"Ok.{DSK[0]}function_x{DSK[1]}{TEXT}{DSK[2]}<｜tool▁calls▁end｜>", "Ok.",
     [("function_x", ARGS)]),
    (KIMI, "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
     f"<|tool_call_argument_begin|>{TEXT}<|tool_call_end|><|tool_calls_section_end|>", "",
     [("weather", ARGS)]),
    (PHI, f'<|tool_call|>[{{"name": "weather", "arguments": {TEXT}}}]<|/tool_call|>', "",
     [("weather", ARGS)]),
    (PHI, 'functools[{"name": "weather", "arguments": {"days": 1}}]', "",
     [("weather", {"days": 1})]),
    (PHI, "Use functools for that.", "Use functools for that.", []),
    (GLM4, f"weather\n{TEXT}", "", [("weather", ARGS)]),
    (GLM4, "\nweather\nis nice", "weather\nis nice", []),
    (GLM4, "weathering the storm", "weathering the storm", []),
    (FORCED, f'[{{"name": "weather", "arguments": {TEXT}}}, {{"name": "function_x", '
     '"arguments": {}}]', "", [("weather", ARGS), ("function_x", {})]),
    (FORCED, f'{{"name": "weather", "arguments": {TEXT}}}', "", [("weather", ARGS)]),
    (HERMES, "A tag <tool_ and <b> stay.  ", "A tag <tool_ and <b> stay.  ", []),
    (HERMES, "<tool_call>nothing of the kind", "<tool_call>nothing of the kind", []),
    (HERMES, " <tool_call>{'name': 1}</tool_call>!", " <tool_call>{'name': 1}</tool_call>!", []),
]  # fmt: skip


def read(syntax: Syntax, portions: list[str], *, in_thinking: bool = False, tools=TOOLS):
    reader = AnswerReader(syntax, tools=tools, in_thinking=in_thinking)
    pieces = [piece for portion in portions for piece in reader.feed(portion)] + reader.end()
    thought = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
    content = "".join(piece.text for piece in pieces if isinstance(piece, Content))
    names = [(piece.index, piece.name) for piece in pieces if isinstance(piece, CallBegun)]
    assert [index for index, _ in names] == list(range(len(names)))
    assert reader.num_calls == len(names)
    arguments = [
        "".join(p.text for p in pieces if isinstance(p, CallArguments) and p.index == index)
        for index, _ in names
    ]
    return thought, content, [name for _, name in names], arguments


def portions_of(text: str, cuts: list[int]) -> list[str]:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(places)]


@pytest.mark.parametrize(("syntax", "text", "content", "calls"), CASES)
def test_calls_are_found_whole_and_letter_by_letter(syntax, text, content, calls):
    for portions in ([text], list(text)):
        thought, said, names, arguments = read(syntax, portions)
        assert (thought, said.lstrip() if not content.startswith(" ") else said) == ("", content)
        assert [*zip(names, map(json.loads, arguments), strict=True)] == calls


@given(st.sampled_from(CASES), st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_portions_change_nothing(case, cuts, with_thought):
    syntax, text, _, _ = case
    if with_thought and syntax is not FORCED:
        text = f"{syntax.thinking[0]}\nHm, <b>.\n\n{syntax.thinking[1]}\n\n{text}"
    assert read(syntax, portions_of(text, cuts)) == read(syntax, [text])


@given(st.text(alphabet='<>/{}[]",:;\n tolcarguments_|｜▁namewh', max_size=80), st.data())
def test_any_text_is_read_and_none_of_it_is_lost_without_tools(text, data):
    cuts = data.draw(st.lists(st.integers(0, 80), max_size=6))
    for syntax in (HERMES, LLAMA3, MISTRAL, DEEPSEEK, GLM4, FORCED):
        assert read(syntax, portions_of(text, cuts)) == read(syntax, [text])
    assert read(HERMES, portions_of(text, cuts), tools=())[1] == text


def test_thinking_stands_apart():
    text = "<think>\nTwo and two.\n\nFour.\n</think>\n\nIt is 4."
    for portions in ([text], list(text)):
        assert read(HERMES, portions)[:2] == ("Two and two.\n\nFour.", "It is 4.")
        assert read(HERMES, portions, tools=())[:2] == ("Two and two.\n\nFour.", "It is 4.")
    assert read(HERMES, ["<think>\n\n</think>\n\nYes."])[:2] == ("", "Yes.")
    assert read(MISTRAL, ["[THINK]Hm.[/THINK]Yes."])[:2] == ("Hm.", "Yes.")


def test_thinking_that_the_prompt_opened_and_thinking_that_never_ends():
    text = "Two and two.\n</think>\n\nIt is 4."
    for portions in ([text], list(text)):
        assert read(HERMES, portions, in_thinking=True)[:2] == ("Two and two.", "It is 4.")
    assert read(HERMES, list("<think>\nOn and on"))[:2] == ("On and on", "")


def test_arguments_come_before_the_call_is_complete():
    reader = AnswerReader(HERMES, tools=TOOLS)
    assert reader.feed('Ok <tool_call>{"na') == [Content("Ok")]
    (begun,) = reader.feed('me": "weather", ')
    assert isinstance(begun, CallBegun)
    assert begun.name == "weather"
    assert reader.feed('"arguments": {"ci') == [CallArguments(0, '{"ci')]
    assert reader.feed('ty": "Par') == [CallArguments(0, 'ty": "Par')]


def test_a_call_that_was_cut_off_keeps_what_came():
    _, said, names, arguments = read(HERMES, ['<tool_call>{"name": "weather", "arguments": {"c'])
    assert (said, names, arguments) == ("", ["weather"], ['{"c'])


def test_ids_are_new_and_as_long_as_the_family_wants():
    assert len({tool_calls.new_id(HERMES) for _ in range(1000)}) == 1000
    assert tool_calls.new_id(HERMES).startswith("call_")
    assert len(tool_calls.new_id(MISTRAL)) == 9


@pytest.mark.parametrize(
    ("template", "family"),
    [("qwen3", HERMES), ("qwen2.5", HERMES), ("llama3", LLAMA3), ("mistral", MISTRAL),
     ("phi4-mini", PHI), ("glm4", GLM4)],
)  # fmt: skip
def test_the_family_is_known_by_its_template(template, family):
    assert syntax_of(find(template).text) is family
