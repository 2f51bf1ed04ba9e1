"""Explain syntax errors in JSON, with their position."""

from __future__ import annotations

import json
import re

from tunery.data.numbers import MAX_DIGITS
from tunery.data.problems import NOTHING, Phrase, Problem, say
from tunery.data.sources.decode import NotJSON

MAX_EXCERPT = 4_000


def syntax_problem(
    name: str,
    text: str,
    *,
    line: int | None,
    record: int | None,
    column: int = 0,
) -> Problem:
    """Make the problem for a JSON syntax error.

    Args:
        name: Name of the file in the problem.
        text: The text of the record.
        line: Line of the record, from 1.
        record: Number of the record, from 1.
        column: Number of characters before ``text`` on its line.
    """
    code, at, found, fix = explain(text)
    return Problem(
        code,
        name,
        found,
        fix,
        line=line,
        column=column + at + 1,
        record=record,
        excerpt=text if len(text) <= MAX_EXCERPT else text[:MAX_EXCERPT],
    )


def explain(text: str) -> tuple[str, int, Phrase, Phrase]:
    """Return (code, position from 0, what is wrong, what to do) for text that is not JSON."""
    try:
        json.loads(text, parse_constant=_constant)
    except NotJSON as error:
        word = str(error)
        at = re.search(rf'(?<!["\w]){re.escape(word)}', text)
        return (
            "E125",
            at.start() if at else 0,
            say("{word} is not valid JSON", word=word),
            say("Write null or a number."),
        )
    except RecursionError:
        return "E123", 0, say("the record is nested too deeply"), say("Flatten it.")
    except json.JSONDecodeError as error:
        return _syntax(error, text)
    except ValueError:  # Python reads no integer of more than 4300 digits
        place = re.search(rf"\d{{{MAX_DIGITS},}}", text)
        return (
            "E126",
            place.start() if place else 0,
            say("a number has more than {most} digits", most=MAX_DIGITS),
            say("Write it as text if it matters."),
        )
    return "E106", 0, say("not a single JSON value"), NOTHING


def _syntax(error: json.JSONDecodeError, text: str) -> tuple[str, int, Phrase, Phrase]:
    at = error.pos
    rest = text[at:].lstrip()
    before = text[:at].rstrip()
    opened = text.lstrip()[:1]
    if error.msg.startswith("Extra data"):
        if rest[:1] in "{[":
            return (
                "E107",
                at,
                say("a second record begins on this line"),
                say("Put each record on a line of its own."),
            )
        return (
            "E107",
            at,
            say("there is text after the record"),
            say("Delete what follows the closing brace."),
        )
    if "control character" in error.msg:
        return (
            "E108",
            at,
            say("a string contains a raw control character"),
            say("Write it escaped, such as \\n or \\t."),
        )
    if "escape" in error.msg:
        return (
            "E109",
            at,
            say("a backslash does not begin a valid JSON escape"),
            say("Write a backslash in text as two backslashes: \\\\."),
        )
    if "Unterminated string" in error.msg:
        return (
            "E106",
            at,
            say("the string that begins here is not closed: expected a quote"),
            say("Add the closing quote."),
        )
    if rest[:1] in ("}", "]") and before.endswith(","):
        at = len(before) - 1
        return (
            "E104",
            at,
            say("there is a comma before {close}", close=rest[:1]),
            say("Delete the comma."),
        )
    if before.endswith(",") and "property name" in error.msg and not rest:
        return (
            "E104",
            len(before) - 1,
            say("the record ends after a comma"),
            say("Add the missing part."),
        )
    if not rest and opened in ("{", "["):
        close = "}" if opened == "{" else "]"
        return (
            "E106",
            at,
            say("the object is not closed: expected , or {close}", close=close),
            say("Add {close}.", close=close),
        )
    if rest[:1] == "'" or text.lstrip()[:2] == "{'":
        return (
            "E106",
            at,
            say("single quotes; JSON allows only double quotes"),
            say("Write the file with a JSON library (in Python: json.dumps)."),
        )
    return (
        "E106",
        at,
        say("{what}, found {found}", what=_expected(error.msg), found=_found(rest)),
        say("Correct the line."),
    )


def _expected(message: str) -> Phrase:
    """What JSON needs at the place, in our words."""
    if "property name" in message:
        return say("expected a key in double quotes")
    if "':'" in message:
        return say("expected : after the key")
    if "','" in message:
        return say("expected , or a closing bracket")
    if "trailing comma" in message:  # Python 3.13
        return say("expected no comma before a closing bracket")
    return say("expected a value")


def _found(rest: str) -> Phrase:
    return say("{text}", text=repr(rest[:10])) if rest else say("the end of the line")


def _constant(word: str) -> None:
    raise NotJSON(word)
