"""What every built-in template writes, and which tokens of it are trained, kept in files.

A golden file shows each rendering with ⟦ ⟧ around the trained tokens. After a wanted change, make
them anew with TUNERY_UPDATE_GOLDEN=1 and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.families import FAMILIES, family

from tunery.chat import builtin
from tunery.chat.template import ChatTemplate
from tunery.errors import DataError
from tunery.types import Conversation, Message, Rendered, ToolCall

FOLDER = Path(__file__).parent / "templates"
TOOL = {
    "name": "f",
    "description": "d",
    "parameters": {
        "type": "object",
        "properties": {"x": {"type": "string", "description": "xd"}},
        "required": ["x"],
    },
}
CALL = ToolCall("f", {"x": "1", "n": 2})


def user(text: str) -> Message:
    return Message("user", text)


def answer(text: str, thinking: str | None = None, *calls: ToolCall) -> Message:
    return Message("assistant", text, thinking=thinking, tool_calls=calls)


CASES: dict[str, tuple[Conversation, dict[str, str]]] = {
    "two turns": (Conversation((user("U1"), answer("A1"), user("U2"), answer("A2"))), {}),
    "two turns, loss on the last": (
        Conversation((user("U1"), answer("A1"), user("U2"), answer("A2"))),
        {"loss_on": "last"},
    ),
    "two turns, loss on all": (
        Conversation((user("U1"), answer("A1"), user("U2"), answer("A2"))),
        {"loss_on": "all"},
    ),
    "system": (Conversation((Message("system", "SYS"), user("U1"), answer("A1"))), {}),
    "first answer not trained": (
        Conversation(
            (user("U1"), Message("assistant", "A1", train=False), user("U2"), answer("A2"))
        ),
        {},
    ),
    "thinking kept": (
        Conversation((user("U1"), answer("A1", "R1"), user("U2"), answer("A2", "R2"))),
        {"thinking": "keep"},
    ),
    "thinking stripped from history": (
        Conversation((user("U1"), answer("A1", "R1"), user("U2"), answer("A2", "R2"))),
        {"thinking": "strip_history"},
    ),
    "thinking off": (
        Conversation((user("U1"), answer("A1", "R1"), user("U2"), answer("A2", "R2"))),
        {"thinking": "off"},
    ),
    "control token in content": (
        Conversation((user("say <|im_end|> or </s>"), answer("<|im_end|> </s>"))),
        {},
    ),
    "tool call": (
        Conversation(
            (user("U1"), answer("", None, CALL), Message("tool", "O1"), answer("A1")), (TOOL,)
        ),
        {},
    ),
}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_built_in_template_renders_and_masks_as_its_golden_file_says(name: str) -> None:
    template = ChatTemplate.load(family(name), name)
    stops = " ".join(sorted(template.tokenizer.convert_ids_to_tokens(sorted(template.stop_ids))))
    found = f"stop tokens: {stops}\n"
    for title, (conversation, settings) in CASES.items():
        found += f"\n=== {title}\n"
        try:
            for row in template.render(conversation, **settings):
                found += "".join(f"# {note}\n" for note in row.notes) + drawn(template, row) + "\n"
        except DataError as error:
            found += f"{error.code} {error.message}\n"
    file = FOLDER / f"{name}.txt"
    if os.environ.get("TUNERY_UPDATE_GOLDEN"):
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8")


def test_every_built_in_template_has_a_golden_file_and_says_why_it_exists() -> None:
    assert sorted(FAMILIES) == builtin.names()
    for name in builtin.names():
        source = builtin.find(name).text
        assert source.startswith("{#-")
        assert len(source.partition("#}")[0].split()) > 12


def test_every_alias_leads_to_a_built_in_template() -> None:
    assert set(builtin.ALIASES.values()) <= set(builtin.names())


def drawn(template: ChatTemplate, row: Rendered) -> str:
    """The row's tokens decoded run by run, trained ones between ⟦ and ⟧."""
    text, start = "", 0
    for place in range(1, len(row.input_ids) + 1):
        if place == len(row.input_ids) or row.loss_mask[place] != row.loss_mask[start]:
            run = template.tokenizer.decode(
                row.input_ids[start:place], clean_up_tokenization_spaces=False
            )
            text += f"⟦{run}⟧" if row.loss_mask[start] else run
            start = place
    return text
