"""The syntax of tool calls in each model family, and the pieces of a streamed call.

A ``Syntax`` defines the marks around a call. ``call_readers.py`` reads the text between them, and
``answers.py`` finds the calls in an answer. Templates do the reverse and write calls.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call whose name is known; its arguments follow.

    Args:
        index: Index of the call in the answer, from 0.
        id: A new random ID.
        name: Name of the function.
    """

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A further part of a call's arguments; the parts concatenate to one JSON object."""

    index: int
    text: str


CallPiece = CallBegun | CallArguments


@dataclass(frozen=True, slots=True)
class Syntax:
    """How one family of models writes its calls.

    Args:
        name: Name of the family.
        marks: Text before a call -> text after it (empty if a call has no end mark).
        silent: Texts around calls that are removed from the answer.
        separators: Texts between a bare name and its arguments.
        bare: Form of a call without marks at the start of an answer: ``json`` for a JSON object,
            ``lines`` for a line with the name and the arguments below it; empty for none.
        thinking: Texts before and after thinking.
        id_length: Number of letters and digits in a call's ID; 0 if the family has no fixed length.
    """

    name: str
    marks: Mapping[str, str] = field(default_factory=dict[str, str])
    silent: Sequence[str] = ()
    separators: Sequence[str] = ()
    bare: Literal["", "json", "lines"] = ""
    thinking: tuple[str, str] = ("<think>", "</think>")
    id_length: int = 0


PLAIN = Syntax("plain")
FORCED = Syntax("forced", bare="json")
HERMES = Syntax("hermes", {"<tool_call>": "</tool_call>"})
LLAMA3 = Syntax("llama3", {"<|python_tag|>": ""}, bare="json")
MISTRAL = Syntax(
    "mistral", {"[TOOL_CALLS]": ""}, separators=("[ARGS]",), thinking=("[THINK]", "[/THINK]"),
    id_length=9,
)  # fmt: skip
DEEPSEEK = Syntax(
    "deepseek",
    {"<｜tool▁call▁begin｜>": "<｜tool▁call▁end｜>"},
    silent=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    separators=("<｜tool▁sep｜>",),
)
KIMI = Syntax(
    "kimi",
    {"<|tool_call_begin|>": "<|tool_call_end|>"},
    silent=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    separators=("<|tool_call_argument_begin|>",),
)
PHI = Syntax("phi", {"<|tool_call|>": "<|/tool_call|>", "functools": ""})
GLM4 = Syntax("glm4", bare="lines")

# Text in a template that identifies a family; the first match decides.
_SIGNS = (
    ("<｜tool▁call", DEEPSEEK),
    ("<|tool_call_begin|>", KIMI),
    ("[TOOL_CALLS]", MISTRAL),
    ("<tool_call>", HERMES),
    ("<|tool_call|>", PHI),
    ("functools", PHI),
    ("<|python_tag|>", LLAMA3),
    ('"parameters": ', LLAMA3),
    ("<|observation|>", GLM4),
)


def syntax_of(template: str) -> Syntax:
    """Detect the family from a chat template's source; ``HERMES`` if nothing identifies it."""
    return next((syntax for sign, syntax in _SIGNS if sign in template), HERMES)


def new_id(syntax: Syntax) -> str:
    """Make a random ID for a call, in the length that the family's template expects."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(syntax.id_length or 24))
    return letters if syntax.id_length else f"call_{letters}"


class CallReader(Protocol):
    """Reads one section of calls. ``feed`` returns how much of the text it consumed.

    Attributes:
        done: The section has ended; text that ``feed`` did not consume belongs to the answer.
        refused: Text that turned out not to be a call, to be shown unchanged.
    """

    done: bool
    refused: str

    def feed(self, text: str) -> tuple[list[CallPiece], int]:
        """Read more text; return the pieces and the number of characters consumed."""
        ...

    def end(self) -> list[CallPiece]:
        """Finish, because the answer ended inside this section."""
        ...


def held_back(text: str, marks: Sequence[str]) -> int:
    """Length of the longest suffix of ``text`` that is an incomplete start of one of ``marks``."""
    longest = min(len(text), max((len(mark) for mark in marks), default=1) - 1)
    for length in range(longest, 0, -1):
        tail = text[-length:]
        if any(len(mark) > length and mark.startswith(tail) for mark in marks):
            return length
    return 0


def joined(new: list[CallPiece], before: list[CallPiece]) -> list[CallPiece]:
    """Merge new arguments into the last piece of ``before`` if they continue it.

    Returns:
        The pieces that were not merged.
    """
    if (
        len(new) == 1
        and before
        and isinstance(last := before[-1], CallArguments)
        and isinstance(more := new[0], CallArguments)
        and last.index == more.index
    ):
        before[-1] = CallArguments(last.index, last.text + more.text)
        return []
    return new
