"""Parse a streamed answer into thinking, content and tool calls.

Text that may still turn out to be a mark is held back, and no text is lost: text that turns out
not to be a call becomes content. The result does not depend on how the text is split into chunks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunery.chat.call_readers import JsonCalls, NamedCall
from tunery.chat.tagged_calls import TaggedCall
from tunery.chat.tool_calls import (
    FORCED,
    CallArguments,
    CallBegun,
    CallReader,
    Syntax,
    held_back,
)


@dataclass(frozen=True, slots=True)
class Thought:
    """A further part of the thinking before an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """A further part of the answer itself."""

    text: str


Piece = Thought | Content | CallBegun | CallArguments
_BLANK = " \t\r\n"


class AnswerReader:
    """Incremental parser of one answer.

    Args:
        syntax: How this model writes calls; ``FORCED`` if a schema restricts it to calls.
        tools: The tools of the request; without tools, the parser does not look for calls.
        in_thinking: Whether the prompt ended inside a thinking block.

    Attributes:
        num_calls: Number of calls started so far.
    """

    def __init__(
        self,
        syntax: Syntax,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        in_thinking: bool = False,
    ) -> None:
        self.num_calls = 0
        self._syntax = syntax
        self._tools = tools
        self._names = frozenset(_name(tool) for tool in tools)
        self._buffer = ""
        self._reader: CallReader | None = None
        self._state: Literal["start", "thinking", "answer", "content", "mark", "call"] = "start"
        self._mark: str = ""
        self._open, self._close = syntax.thinking
        self._thought = self._said = False
        if in_thinking:
            self._state = "thinking"
        elif syntax is FORCED:
            self._begin(JsonCalls(0, syntax, "", names=None))

    @property
    def is_thinking(self) -> bool:
        """Whether the parser is inside a thinking block."""
        return self._state == "thinking"

    def feed(self, text: str) -> list[Piece]:
        """Parse the next chunk and return the pieces that are certain."""
        self._buffer += text
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return _joined(pieces)

    def end(self) -> list[Piece]:
        """Finish the answer and return the pieces that were held back."""
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        rest, self._buffer = self._buffer, ""
        match self._state:
            case "thinking":
                self._say_thought(rest.rstrip(), pieces)
            case "call" if self._reader is not None:
                pieces += self._reader.end()
                self._say(self._mark + self._reader.refused if self._reader.refused else "", pieces)
            case "mark":
                self._say(self._mark + rest, pieces)
            case _:
                self._say(rest.rstrip() if self.num_calls else rest, pieces)
        return _joined(pieces)

    def _step(self, pieces: list[Piece]) -> bool:
        """Make one decision and append its pieces; return False if more text is needed."""
        match self._state:
            case "start":
                return self._start()
            case "thinking":
                return self._think(pieces)
            case "answer":
                return self._answer()
            case "content":
                return self._content(pieces)
            case "mark":
                return self._after_mark(pieces)
            case "call":
                return self._call(pieces)

    def _start(self) -> bool:
        text = self._buffer.lstrip(_BLANK)
        if text.startswith(self._open):
            self._buffer = text[len(self._open) :]
            self._state = "thinking"
            return True
        if self._open.startswith(text):
            return False
        self._state = "answer"
        return True

    def _think(self, pieces: list[Piece]) -> bool:
        if not self._thought:
            self._buffer = self._buffer.lstrip(_BLANK)
        place = self._buffer.find(self._close)
        if place >= 0:
            self._say_thought(self._buffer[:place].rstrip(), pieces)
            self._buffer = self._buffer[place + len(self._close) :]
            self._state = "answer"
            self._thought = True
            return True
        shown = _certain(self._buffer, [self._close])
        self._say_thought(self._buffer[:shown], pieces)
        self._buffer = self._buffer[shown:]
        return False

    def _answer(self) -> bool:
        """Decide by the start of the answer itself: a call without marks, or content."""
        text = self._buffer.lstrip(_BLANK)
        if self._thought:
            self._buffer = text
        if self._syntax is FORCED:
            self._begin(JsonCalls(0, self._syntax, "", names=None))
            return True
        if not text:
            return False
        if self._tools and self._syntax.bare == "json" and text[0] in "{[":
            self._begin(JsonCalls(0, self._syntax, "", names=self._names))
            return True
        if self._tools and self._syntax.bare == "lines":
            line, newline, _ = text.partition("\n")
            if newline and line.strip() in self._names:
                self._buffer = text
                self._begin(_line_call(self._syntax))
                return True
            if not newline and any(name.startswith(line.strip()) for name in self._names):
                return False
        self._state = "content"
        return True

    def _content(self, pieces: list[Piece]) -> bool:
        marks = [*self._syntax.marks, *self._syntax.silent] if self._tools else []
        found = [(at, mark) for mark in marks if (at := self._buffer.find(mark)) >= 0]
        if found:
            place, mark = min(found)
            said = self._buffer[:place].rstrip(_BLANK)
            self._say(said, pieces)
            blanks = self._buffer[len(said) : place]
            self._buffer = self._buffer[place + len(mark) :]
            if mark in self._syntax.marks:
                self._mark, self._state = blanks + mark, "mark"
            return True
        shown = _certain(self._buffer, marks) if marks else len(self._buffer)
        self._say(self._buffer[:shown], pieces)
        self._buffer = self._buffer[shown:]
        return False

    def _after_mark(self, pieces: list[Piece]) -> bool:
        """Choose the call reader by the first character after an opening mark."""
        text = self._buffer.lstrip(_BLANK)
        if not text:
            return False
        close = self._syntax.marks[self._mark.lstrip(_BLANK)]
        if text[0] in "{[":
            self._reader = JsonCalls(self.num_calls, self._syntax, close)
        elif self._syntax.separators:
            self._reader = NamedCall(self.num_calls, self._syntax, close)
        elif close:
            self._reader = TaggedCall(self.num_calls, self._syntax, close, self._tools)
        else:
            self._say(self._mark, pieces)
            self._state = "content"
            return True
        self._buffer, self._state = text, "call"
        return True

    def _call(self, pieces: list[Piece]) -> bool:
        reader = self._reader
        if reader is None or not self._buffer:
            return False
        new, taken = reader.feed(self._buffer)
        self._buffer = self._buffer[taken:]
        self.num_calls += sum(isinstance(piece, CallBegun) for piece in new)
        pieces += new
        if not reader.done:
            return False
        if reader.refused:
            self._say(self._mark + reader.refused, pieces)
        self._reader, self._mark, self._state = None, "", "content"
        return True

    def _begin(self, reader: CallReader) -> None:
        self._reader, self._mark, self._state = reader, "", "call"

    def _say(self, text: str, pieces: list[Piece]) -> None:
        if self.num_calls and not self._said:
            text = text.lstrip(_BLANK)
        if text:
            self._said = True
            pieces.append(Content(text))

    def _say_thought(self, text: str, pieces: list[Piece]) -> None:
        if text:
            self._thought = True
            pieces.append(Thought(text))


def _certain(text: str, marks: Sequence[str]) -> int:
    """Number of characters before a possible mark at the end, and before the blanks there."""
    end = len(text) - held_back(text, marks)
    return len(text[:end].rstrip(_BLANK))


def _line_call(syntax: Syntax) -> NamedCall:
    """Reader of a call with the name on its own line and the arguments below."""
    lined = Syntax(syntax.name, separators=("\n",), id_length=syntax.id_length)
    return NamedCall(0, lined, "")


def _name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function", tool)
    return str(function.get("name") or "")


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Merge adjacent pieces of the same kind."""
    result: list[Piece] = []
    for piece in pieces:
        last = result[-1] if result else None
        match last, piece:
            case Content(before), Content(text):
                result[-1] = Content(before + text)
            case Thought(before), Thought(text):
                result[-1] = Thought(before + text)
            case CallArguments(index, before), CallArguments(other, text) if index == other:
                result[-1] = CallArguments(index, before + text)
            case _:
                result.append(piece)
    return result
