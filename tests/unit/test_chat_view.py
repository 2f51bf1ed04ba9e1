"""What a person at the keyboard types and sees."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from tunery.cli.chat_loop import read_question
from tunery.cli.chat_view import Columns, Plain, footer
from tunery.services.chat import Said
from tunery.services.chat._speaker import Reply


def typed(*lines: str):
    left: Iterator[str] = iter(lines)
    return lambda prompt: next(left)


@pytest.mark.parametrize(
    ("lines", "question"),
    [
        (["hello"], "hello"),
        (["one\\", "two\\", "three"], "one\ntwo\nthree"),
        (['"""one', "", 'two"""'], "one\n\ntwo"),
        (['"""', "code", '"""'], "code"),
        (['"""all"""'], "all"),
    ],
)
def test_questions_of_several_lines(lines, question):
    assert read_question(typed(*lines)) == question


def test_one_answer_is_streamed_without_a_heading():
    shown: list[str] = []
    with Plain(["a"], write=shown.append) as view:
        view.start(0)
        view.text(0, "hi \x1b[2J")
        view.text(0, "there")
    assert "".join(shown) == "hi \u241b[2Jthere\n"


def test_into_a_pipe_text_goes_as_it_is():
    shown: list[str] = []
    with Plain(["a"], write=shown.append, safe=False) as view:
        view.start(0)
        view.text(0, "x\x1b")
    assert "".join(shown) == "x\x1b\n"


def test_two_answers_into_a_pipe_have_headings():
    shown: list[str] = []
    with Plain(["a", "b"], write=shown.append, safe=False) as view:
        for place, text in enumerate(["one", "two"]):
            view.start(place)
            view.text(place, text)
    assert "".join(shown) == "## a\none\n\n## b\ntwo\n"


def test_columns_stand_side_by_side_and_stay_when_done():
    screen = io.StringIO()
    console = Console(file=screen, width=100, height=20, force_terminal=False)
    with Columns(["left", "right"], console=console) as view:
        view.start(0)
        view.text(0, "one")
        view.start(1)
        view.text(1, "two")
    last = [line for line in screen.getvalue().splitlines() if line.strip()][-2:]
    assert last[0].split() == ["left", "right"]
    assert last[1].split() == ["one", "two"]
    assert last[1].index("two") >= 50


@pytest.mark.parametrize(
    ("commands", "advice"), [(True, "(/max N for more)"), (False, "(--max-new-tokens for more)")]
)
def test_a_cut_answer_names_what_works_where_it_is_read(commands: bool, advice: str):
    said = [Said("demo", Reply("hi", [1, 2], "length"), 0)]
    assert footer(said, commands=commands).plain.endswith(f"; cut off at the limit {advice}")
