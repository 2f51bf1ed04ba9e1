"""Tool calls as model families write them, read while the text still comes.

A ``Syntax`` says by which texts a call begins and ends. ``call_readers.py`` reads what stands
between; ``answers.py`` finds the calls in an answer; templates render the other direction.
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
        index: Place among the answer's calls, from 0.
        id: A new identity, unlike any other.
        name: The function.
    """

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of a call's arguments: JSON text that joins up to one object."""

    index: int
    text: str


CallPiece = CallBegun | CallArguments


@dataclass(frozen=True, slots=True)
class Syntax:
    """How one family of models writes its calls.

    Args:
        name: The family.
        marks: The text before a call, and the one after it (empty: the call ends by itself).
        silent: Texts around calls that say nothing.
        separators: What stands between a bare name and its arguments.
        bare: A call without marks, alone in the answer: a JSON object, or a line with the name
            and the arguments below it.
        thinking: The texts around thinking.
        id_length: Letters and digits of a call's id, where the family's template counts them.
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

# The text in a template that gives a family away; the first that is there decides.
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
    """Make an identity for a call, in the length that the family's template wants."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(syntax.id_length or 24))
    return letters if syntax.id_length else f"call_{letters}"


class CallReader(Protocol):
    """Reads one section of calls. ``feed`` returns how much of the text it consumed.

    Attributes:
        done: The stretch is over; what ``feed`` did not take is the answer's again.
        refused: Text that turned out not to be a call, to be shown unchanged.
    """

    done: bool
    refused: str

    def feed(self, text: str) -> tuple[list[CallPiece], int]:
        """Read on; give pieces and the number of characters taken."""
        ...

    def end(self) -> list[CallPiece]:
        """The answer is over in the middle of it."""
        ...


def held_back(text: str, marks: Sequence[str]) -> int:
    """Length of the longest end of ``text`` with which one of ``marks`` may begin."""
    longest = min(len(text), max((len(mark) for mark in marks), default=1) - 1)
    for length in range(longest, 0, -1):
        tail = text[-length:]
        if any(len(mark) > length and mark.startswith(tail) for mark in marks):
            return length
    return 0


def joined(new: list[CallPiece], before: list[CallPiece]) -> list[CallPiece]:
    """Append arguments to ``before`` if they continue it; return the rest."""
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
