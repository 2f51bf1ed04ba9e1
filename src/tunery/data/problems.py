"""What can be wrong with data, as values: a code, a place, what was found, what to do.

A problem keeps its words as a template and its values, so that ``--json`` is English for ever and
a person reads it in the chosen language. This module knows nothing of files or formats.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from tunery.i18n import Phrase, Sentence, joined, say, t

Level = Literal["stop", "warn", "note"]
LEVELS: dict[str, Level] = {"E": "stop", "W": "warn", "N": "note"}
MAX_FOUND = 80
SECRETS = re.compile(
    r"hf_[A-Za-z0-9]{20,}|sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|xox[baprs]-[0-9A-Za-z-]{10,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


NOTHING = Phrase("")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong at one place.

    Args:
        code: Stable name such as ``E301``; the first letter gives the level.
        file: The file as the user named it, or the dataset's name.
        found: What is there.
        fix: What to do; everything it names exists.
        line: 1-based physical line.
        column: 1-based character in the line.
        record: 1-based number of the record in the file.
        field: Path of the field, such as ``messages[1].content``.
        excerpt: The line itself, for the caret.
        count: How many rows share this code (set in a report).
        level: Level where it is not the code's own.
    """

    code: str
    file: str
    found: Phrase
    fix: Phrase = NOTHING
    line: int | None = None
    column: int | None = None
    record: int | None = None
    field: str | None = None
    excerpt: str | None = None
    count: int = 1
    level: Level | None = None

    @property
    def severity(self) -> Level:
        """``stop``, ``warn`` or ``note``."""
        return self.level or LEVELS[self.code[0]]

    @property
    def about_setting(self) -> bool:
        """Whether it concerns a setting of ``data`` and not a row."""
        return self.record is None and (self.field or "").startswith("data.")

    @property
    def sentence(self) -> str:
        """All of it in one line, in the reader's language."""
        return coded(self.code, joined(say("{place}:", place=self.place), self.words))

    @property
    def words(self) -> Sentence:
        """What was found and what to do, in the reader's language."""
        return joined(self.found, self.fix)

    @property
    def place(self) -> str:
        """``file:line:column``, as far as it is known."""
        parts = [visible(self.file)]
        if self.line is not None:
            parts.append(str(self.line))
            if self.column is not None:
                parts.append(str(self.column))
        return ":".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``: never translated."""
        return {
            "code": self.code,
            "level": self.severity,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "record": self.record,
            "field": self.field,
            "found": str(self.found),
            "fix": str(self.fix),
            "count": self.count,
        }

    def counted(self, count: int) -> Problem:
        """The same problem with the number of rows that share its code."""
        return replace(self, count=count)


class RowProblem(Exception):
    """A row cannot become an example; caught where the row's place is known.

    Args:
        code: Such as ``E301``.
        field: Path of the field.
        found: What is there.
        fix: What to do.
        column: 1-based character inside the field's text, where that helps.
        roles: For E405: every unknown role of the row, with the role it may have meant.
    """

    def __init__(
        self,
        code: str,
        field: str | None,
        found: Phrase,
        fix: Phrase = NOTHING,
        *,
        column: int | None = None,
    ) -> None:
        super().__init__(code, field)
        self.code = code
        self.field = field
        self.found = found
        self.fix = fix
        self.column = column
        self.roles: dict[str, str] = {}


class FileProblem(Exception):
    """A file cannot be read any further; carries the finished problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code, problem.file)
        self.problem = problem


def coded(code: str, text: str) -> str:
    """A sentence with its code before it; the page leaves the code away."""
    return t("{code} {text}", code=code, text=text)


def enumerated(names: Iterable[str], limit: int = 80) -> str:
    """Names with commas between; past ``limit`` characters only how many more there are."""
    kept: list[str] = []
    left = length = 0
    for name in names:
        length += len(name) + 2
        if kept and (left or length - 2 > limit):
            left += 1
        else:
            kept.append(name)
    text = visible(", ".join(kept), limit)
    return f"{text}, … (+{left})" if left else text


def visible(text: str, limit: int | None = None) -> str:
    """Make control and invisible characters readable, mask secrets, and cut to ``limit``."""
    if limit is not None:
        text = text[: limit * 4]
    text = SECRETS.sub(lambda m: m.group()[:7] + "…", text)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _name(c) for c in text)
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return text


def show(value: Any) -> Phrase:
    """Describe a value as it is found in a row, in at most about 80 characters."""
    match value:
        case None:
            return say("null")
        case bool():
            return say("true") if value else say("false")
        case int() | float():
            return say("number {number}", number=visible(str(value), 40))
        case str():
            return say('text "{text}"', text=visible(value, MAX_FOUND))
        case bytes():
            return say("{count} bytes", count=len(value))
        case list():
            return say("a list of {count}", count=len(cast("list[Any]", value)))
        case dict() if value:
            return say(
                "an object with {keys}",
                keys=visible(", ".join(map(str, cast("dict[str, Any]", value))), 60),
            )
        case dict():
            return say("an empty object")
        case _:
            return say("{kind}", kind=type(value).__name__)


def _name(character: str) -> str:
    if character == "\n":
        return "\\n"
    if character == "\t":
        return "\\t"
    return f"<U+{ord(character):04X}>"


def character_name(character: str) -> str:
    """A name such as ``U+202E RIGHT-TO-LEFT OVERRIDE``, for warnings about invisible characters."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".strip()
