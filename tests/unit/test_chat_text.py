"""Tokens to text: whole characters, stop strings, nothing a terminal would obey."""

from __future__ import annotations

import pytest
from tests.families import family

from tunery.cli.chat_view import harmless
from tunery.decode.text import TextStream

TEXT = "Grüße 你好 👩‍🚀 <think> ok"


@pytest.mark.parametrize("name", ["chatml", "mistral", "gemma", "llama3"])
def test_pieces_are_whole_characters_and_add_up(name):
    tokenizer = family(name)
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in ids]
    pieces.append(stream.end())
    assert all("\ufffd" not in piece for piece in pieces)
    assert "".join(pieces) == stream.text
    assert stream.text == tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert sum(bool(piece) for piece in pieces) > 5, "nothing was streamed"


def test_half_a_character_is_held_back_and_shown_broken_only_at_the_end():
    tokenizer = family("chatml")
    ids = tokenizer.encode("a🚀", add_special_tokens=False)[:-1]
    stream = TextStream(tokenizer)
    assert "".join(stream.push(token) for token in ids) == "a"
    assert stream.end().startswith("\ufffd")


def test_control_tokens_are_shown_as_text():
    tokenizer = family("chatml")
    stream = TextStream(tokenizer)
    (token,) = tokenizer.encode("<|im_start|>", add_special_tokens=False)
    assert stream.push(token) + stream.end() == "<|im_start|>"


def test_a_stop_string_is_found_across_tokens_and_left_out():
    tokenizer = family("chatml")
    ids = tokenizer.encode("one two STOP three", add_special_tokens=False)
    stream = TextStream(tokenizer, ["STOP", "never"])
    shown = "".join(stream.push(token) for token in ids) + stream.end()
    assert shown == stream.text == "one two "
    assert stream.stopped


def test_the_beginning_of_a_stop_string_that_is_none_comes_out_again():
    tokenizer = family("chatml")
    ids = tokenizer.encode("one ST", add_special_tokens=False)
    stream = TextStream(tokenizer, ["STOP"])
    early = "".join(stream.push(token) for token in ids)
    assert early == "one "
    assert early + stream.end() == "one ST"
    assert not stream.stopped


@pytest.mark.parametrize(
    "evil",
    ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\rb", "\x08\x08", "\u202eabc", "\x7f", "\x00"],
)
def test_model_text_cannot_command_the_terminal(evil):
    shown = harmless(evil)
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in shown)


def test_ordinary_text_stays_as_it_is():
    text = "Zwei\nZeilen\tund 你好 👩‍🚀 العربية"
    assert harmless(text) == text
