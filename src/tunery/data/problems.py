"""Problems with data: a code, a place, what was found, what to do.

A problem stores its text as a template with values, so that ``--json`` is always English and people
read it in their language. This module does not depend on files or formats.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from decimal import Decimal
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
    """One problem at one place.

    Args:
        code: Stable code such as ``E301``; its first letter gives the level.
        file: The file as the user named it, or the name of the dataset.
        found: What was found.
        fix: What to do; every setting and command that it names exists.
        line: Line in the file, from 1.
        column: Character in the line, from 1.
        record: Number of the record in the file, from 1.
        field: Path of the field, such as ``messages[1].content``.
        excerpt: The line itself, to point at the column.
        count: Number of rows with this code (set in a report).
        level: The level if it differs from that of the code.
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
        """Whether the problem is about a ``data`` setting instead of a row."""
        return self.record is None and (self.field or "").startswith("data.")

    @property
    def sentence(self) -> str:
        """The whole problem in one line, translated to the current language."""
        return coded(self.code, joined(say("{place}:", place=self.place), self.words))

    @property
    def words(self) -> Sentence:
        """What was found and what to do, translated to the current language."""
        return joined(self.found, self.fix)

    @property
    def place(self) -> str:
        """``file:line:column``, as far as known."""
        parts = [visible(self.file)]
        if self.line is not None:
            parts.append(str(self.line))
            if self.column is not None:
                parts.append(str(self.column))
        return ":".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``, always in English."""
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
        """The same problem with another count."""
        return replace(self, count=count)


class RowProblem(Exception):
    """A row cannot become an example; the caller that knows its place catches this.

    Args:
        code: Such as ``E301``.
        field: Path of the field.
        found: What was found.
        fix: What to do.
        column: Character in the field's text, from 1, if known.

    Attributes:
        roles: For E405, every unknown role of the row -> the role it probably means.
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
    """A file cannot be read any further; ``problem`` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code, problem.file)
        self.problem = problem


def coded(code: str, text: str) -> str:
    """A sentence with its code in front; the page omits the code."""
    return t("{code} {text}", code=code, text=text)


def enumerated(names: Iterable[str], limit: int = 80) -> str:
    """Names separated by commas; beyond ``limit`` characters, only the number of other names."""
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


def column_name(name: str) -> str:
    """The name of a column for display; in quotes if it is empty or begins or ends with a space."""
    return name if name and name == name.strip() else f'"{name}"'


def visible(text: str, limit: int | None = None) -> str:
    """Make control and invisible characters readable, mask secrets, truncate to ``limit``."""
    if limit is not None:
        text = text[: limit * 4]
    text = SECRETS.sub(lambda m: m.group()[:7] + "…", text)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _name(c) for c in text)
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return text


def show(value: Any) -> Phrase:
    """Describe a value of a row, in about 80 characters at most."""
    match value:
        case None:
            return say("null")
        case bool():
            return say("true") if value else say("false")
        case int() | float() | Decimal():
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
        case date() | time() | timedelta():
            return say("a date or time")
        case _:
            return say("{kind}", kind=type(value).__name__)


def _name(character: str) -> str:
    if character == "\n":
        return "\\n"
    if character == "\t":
        return "\\t"
    return f"<U+{ord(character):04X}>"


def character_name(character: str) -> str:
    """A name such as ``U+202E RIGHT-TO-LEFT OVERRIDE``, to report invisible characters."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".strip()
