"""Incremental readers of tool calls: each reads one section of an answer and returns pieces.

The name is returned as soon as it is known, the arguments in parts. Pure: text in, pieces out.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from tunery.chat.tool_calls import (
    CallArguments,
    CallBegun,
    CallPiece,
    Syntax,
    held_back,
    joined,
    new_id,
)
from tunery.types import is_object

ARGUMENTS = ("arguments", "parameters", "args")
_NAME_KEYS = ("name", "function")
_OTHER_KEYS = ("id", "type", "index")
_LONGEST_HEAD = 512


class JsonEnd:
    """Finds the end of a JSON object, array or string."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_text = False
        self._escaped = False

    def take(self, character: str) -> bool:
        """Read one character; return True if it closes what the first one opened."""
        if self._in_text:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._in_text = False
        elif character == '"':
            self._in_text = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
        return self._depth <= 0 and not self._in_text


class JsonCall:
    """One ``{"name": ..., "arguments": {...}}``, read character by character.

    Args:
        index: Index of the call in the answer, from 0.
        id: The call's ID.
        names: Names that make the object a call; None accepts every name.

    Attributes:
        done: The object has ended.
        broken: The object is not a call, or not valid.
        begun: The name is known, and ``CallBegun`` was returned.
        raw: The characters read so far.
    """

    def __init__(self, index: int, id: str, names: frozenset[str] | None) -> None:
        self.index, self.id = index, id
        self.done = self.broken = self.begun = False
        self.raw: list[str] = []
        self._names = names
        self._state: Literal["open", "key", "key text", "colon", "value", "scalar"] = "open"
        self._key = self._value = ""
        self._end: JsonEnd | None = None
        self._waiting: list[str] = []  # arguments read before the name
        self._has_arguments = False

    def take(self, character: str) -> list[CallPiece]:
        """Read one character and return the pieces that it completes."""
        self.raw.append(character)
        match self._state:
            case "open":
                self._state = "key"
            case "key":
                if character == '"':
                    self._state, self._value = "key text", character
                elif character == "}":
                    return self._finish()
                elif character not in " \t\r\n,":
                    self.broken = True
            case "key text":
                self._value += character
                if character == '"' and (key := _text(self._value)) is not None:
                    self._key, self._state = key, "colon"
                    known = key in (*ARGUMENTS, *_NAME_KEYS, *_OTHER_KEYS)
                    self.broken = not known and self._names is not None and not self.begun
            case "colon":
                if character == ":":
                    self._state, self._value, self._end = "value", "", None
            case "value":
                return self._take_value(character)
            case "scalar":
                return self._take_scalar(character)
        return []

    def _take_value(self, character: str) -> list[CallPiece]:
        if self._end is None:
            if character in " \t\r\n":
                return []
            self._end = JsonEnd()
            if character not in '{["':
                self._state = "scalar"
                return self._take_scalar(character)
        self._value += character
        complete = self._end.take(character)
        pieces: list[CallPiece] = []
        if self._key in ARGUMENTS and self._value[0] == "{":
            pieces = self._say(character)
        elif complete:
            pieces = self._take_whole()
        if complete:
            self._state = "key"
        return pieces

    def _take_scalar(self, character: str) -> list[CallPiece]:
        if character == "}":
            return self._finish()
        if character == ",":
            self._state = "key"
        return []

    def _take_whole(self) -> list[CallPiece]:
        """Read a value that is a string, a list, or an object other than the arguments."""
        value = read_json(self._value)
        if self._key in ARGUMENTS:  # some models write the arguments as JSON in a string
            inner = read_json(value) if isinstance(value, str) else None
            return self._say(value if isinstance(inner, dict) else self._value)
        if self._key == "function" and is_object(value):
            pieces = self._begin(str(value.get("name") or ""))
            given = next((value[key] for key in ARGUMENTS if key in value), None)
            if given is not None:
                pieces += self._say(given if isinstance(given, str) else dump_json(given))
            return pieces
        if self._key in _NAME_KEYS and isinstance(value, str):
            return self._begin(value)
        return []

    def _begin(self, name: str) -> list[CallPiece]:
        if self.begun:
            return []
        if not name or (self._names is not None and name not in self._names):
            self.broken = True
            return []
        self.begun = True
        said = "".join(self._waiting)
        pieces: list[CallPiece] = [CallBegun(self.index, self.id, name)]
        return [*pieces, CallArguments(self.index, said)] if said else pieces

    def _say(self, text: str) -> list[CallPiece]:
        self._has_arguments = True
        if self.begun:
            return [CallArguments(self.index, text)]
        self._waiting.append(text)
        return []

    def _finish(self) -> list[CallPiece]:
        self.done = True
        if not self.begun:
            self.broken = True
            return []
        return [] if self._has_arguments else [CallArguments(self.index, "{}")]


class JsonCalls:
    """JSON objects: a single one, a list, or several in sequence.

    Args:
        first: Index of the first call.
        syntax: The syntax that determines the IDs.
        close: The text after the calls; empty if they have no end mark.
        names: Names that make an object a call; None accepts every name.
    """

    def __init__(
        self, first: int, syntax: Syntax, close: str, *, names: frozenset[str] | None = None
    ) -> None:
        self.done = False
        self.refused = ""
        self._next = first
        self._syntax, self._close, self._names = syntax, close, names
        self._call: JsonCall | None = None
        self._skipped = ""
        self._listed = False
        self._num_read = 0

    def feed(self, text: str) -> tuple[list[CallPiece], int]:
        """Read more text; see :class:`CallReader`."""
        pieces: list[CallPiece] = []
        at = 0
        while at < len(text) and not self.done:
            if self._call is None:
                step = self._between(text, at)
                if step < 0:
                    break
                at += step
                continue
            pieces += joined(self._call.take(text[at]), pieces)
            at += 1
            self._look_at(self._call)
        return pieces, at

    def end(self) -> list[CallPiece]:
        """Finish: text that is not yet a call goes to ``refused``."""
        self._give_up()
        if self._call is not None and not self._call.begun:
            self.refused = self._skipped + "".join(self._call.raw)
        return []

    def _look_at(self, call: JsonCall) -> None:
        if call.broken and not call.begun:
            self.refused = self._skipped + "".join(call.raw)
            self.done = True
        elif call.done or call.broken:
            self._call, self._skipped = None, ""
            self._num_read += 1

    def _between(self, text: str, at: int) -> int:
        """Number of characters to skip outside an object; -1 if more text is needed."""
        rest = text[at:]
        if self._close and rest.startswith(self._close):
            self.done = True
            return len(self._close)
        if self._close and self._close.startswith(rest):
            return -1
        if rest[0] == "{":
            self._call = JsonCall(self._next, new_id(self._syntax), self._names)
            self._next += 1
            return 0
        opens, closes = rest[0] == "[" and not self._listed, rest[0] == "]" and self._listed
        self._listed |= opens
        if self._close or opens or closes or rest[0] in " \t\r\n,;":
            if self._num_read == 0:
                self._skipped += rest[0]
            self.done = closes and not self._close
            return 1
        self._give_up()
        return 0

    def _give_up(self) -> None:
        self.done = True
        if self._num_read == 0:
            self.refused = self._skipped


class NamedCall:
    """A bare name, a separator, and the arguments as a JSON object.

    Args:
        index: Index of the call in the answer, from 0.
        syntax: The syntax that determines the separators and IDs.
        close: The text after the call; empty if it has no end mark.
    """

    def __init__(self, index: int, syntax: Syntax, close: str) -> None:
        self.done = False
        self.refused = ""
        self._index, self._syntax, self._close = index, syntax, close
        self._head = self._cut = self._gap = ""
        self._state: Literal["head", "gap", "arguments", "tail"] = "head"
        self._end = JsonEnd()

    def feed(self, text: str) -> tuple[list[CallPiece], int]:
        """Read more text; see :class:`CallReader`."""
        pieces: list[CallPiece] = []
        at = 0
        while at < len(text) and not self.done:
            if self._state == "tail":
                step = self._tail(text[at:])
                if step < 0:
                    break
                at += step
                continue
            pieces += joined(self._take(text[at]), pieces)
            at += 1
        return pieces, at

    def end(self) -> list[CallPiece]:
        """Finish: text that is not yet a call goes to ``refused``."""
        if self._state in ("head", "gap"):
            self.refused = self._head + self._cut + self._gap
        self.done = True
        return []

    def _take(self, character: str) -> list[CallPiece]:
        if self._state == "head":
            self._head += character
            if len(self._head) > _LONGEST_HEAD:
                self.refused, self.done = self._head, True
                return []
            cut = next((s for s in self._syntax.separators if self._head.endswith(s)), None)
            if cut is not None:
                self._head, self._cut = self._head.removesuffix(cut), cut
                self._state = "gap"
            return []
        if self._state == "gap":
            if character != "{":
                self._gap += character
                named = self._head.strip() == "function"
                if len(self._gap) > _LONGEST_HEAD or not (named or self._gap.isspace()):
                    self.refused, self.done = self._head + self._cut + self._gap, True
                return []
            self._state = "arguments"
            self._end.take(character)
            begun = CallBegun(self._index, new_id(self._syntax), _name_in(self._head, self._gap))
            return [begun, CallArguments(self._index, character)]
        if self._end.take(character):
            self._state = "tail"
        return [CallArguments(self._index, character)]

    def _tail(self, rest: str) -> int:
        if not self._close:
            self.done = True
            return 0
        place = rest.find(self._close)
        if place >= 0:
            self.done = True
            return place + len(self._close)
        held = held_back(rest, [self._close])
        return len(rest) - held if len(rest) > held else -1


def read_json(text: str) -> Any:
    """Parse JSON that a model wrote; None if it is not valid."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def dump_json(value: Any) -> str:
    """Serialize arguments as JSON."""
    return json.dumps(value, ensure_ascii=False)


def _name_in(head: str, gap: str) -> str:
    """The name in ``functions.NAME:0 SEP``, ``function SEP NAME`` or ``NAME SEP``."""
    if head.strip() == "function":
        return gap.split("```")[0].strip()
    name = head.split("[CALL_ID]")[0].strip()
    return re.sub(r":\d+$", "", name.removeprefix("functions."))


def _text(quoted: str) -> str | None:
    value = read_json(quoted)
    return value if isinstance(value, str) else None
