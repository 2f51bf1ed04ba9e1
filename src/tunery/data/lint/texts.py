"""Warnings about texts: invisible characters, control tokens, secrets, placeholders.

Each check first runs on a whole block of rows, so that clean data takes almost no time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunery.data.problems import SECRETS, Phrase, character_name, say
from tunery.data.variables import PLACEHOLDER
from tunery.types import is_list, is_object

SURROGATE = re.compile("[\ud800-\udfff]")
INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)
INVISIBLE_CHARACTERS = (
    "\x7f\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)
ESCAPES = re.compile(r"\\u(?:[dD][89a-fA-F]|20[0126]|00[01]|007[fF]|[fF][eE][fF][fF])|\\[bf]")
SPECIAL = re.compile(
    r"<(?:\|[^|<>\s]{1,40}\|>|｜[^｜<>]{1,40}｜>|/?s>|(?:bos|eos|start_of_turn|end_of_turn|image)>)"
    r"|\[/?INST\]"
)
# Each pattern starts with a rare character, so searching a block is fast.
HINTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"<(?:\||｜|/?s>|bos>|eos>|start_of_turn>|end_of_turn>|image>)",
        r"\[/?INST\]",
        r"_[A-Za-z0-9]{20}",
        r"-(?:[A-Za-z0-9_-]{10}|----B)",
        r"A(?:KIA[0-9A-Z]{16}|Iza[0-9A-Za-z_-]{35})",
    )
)
BRACES = re.compile(r"\{(?:\{|[A-Za-z_]\w*\})")
SINGLE = re.compile(r"(?<![{$\w])\{([A-Za-z_]\w*)\}(?!\})")
SECRET_NAMES = (
    ("hf_", "a Hugging Face token"),
    ("sk-", "an API key"),
    ("gh", "a GitHub token"),
    ("AKIA", "an AWS key"),
    ("AIza", "a Google API key"),
    ("xox", "a Slack token"),
    ("-----", "a private key"),
)


@dataclass(frozen=True, slots=True)
class Remark:
    """One remark about one field; the first letter of the code gives the level."""

    code: str
    field: str
    found: Phrase
    fix: Phrase
    column: int | None = None


def suspicious(block: str, *, escaped: bool) -> bool:
    """Whether a block may contain a text with a remark; False is certain.

    Args:
        block: The text of many rows.
        escaped: Whether the block is JSON, in which characters may be escaped.
    """
    if escaped and "\\" in block and ESCAPES.search(block):
        return True
    if not block.isascii() and any(character in block for character in INVISIBLE_CHARACTERS):
        return True
    if not escaped and INVISIBLE.search(block):
        return True
    return any(hint.search(block) for hint in HINTS)


def joined(rows: Sequence[Any]) -> str:
    """All strings of rows, joined with newlines."""
    parts: list[str] = []
    for row in rows:
        if is_object(row):
            for value in row.values():
                if type(value) is str:
                    parts.append(value)
                elif value is not None:
                    parts += [text for _, text in strings(value, "")]
    return "\n".join(parts)


def strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every string in a value with the path of its field."""
    if isinstance(value, str):
        yield path, value
    elif is_list(value):
        for i, item in enumerate(value):
            yield from strings(item, f"{path}[{i}]")
    elif is_object(value):
        for key, item in value.items():
            yield from strings(item, f"{path}.{key}" if path else str(key))


def remarks(row: dict[str, Any], columns: frozenset[str]) -> Iterator[Remark]:
    """Check every text in the given columns of a row."""
    for column, value in row.items():
        if column in columns:
            for path, text in strings(value, column):
                yield from _remarks(path, text)


def placeholders(text: str) -> list[str]:
    """The placeholders in a text as written, ``{{name}}`` or ``{name}``."""
    double = ["{{" + name + "}}" for name in PLACEHOLDER.findall(text)]
    return double + ["{" + name + "}" for name in SINGLE.findall(text)]


def _remarks(path: str, text: str) -> Iterator[Remark]:
    half = SURROGATE.search(text)
    if half:
        yield Remark(
            "E113",
            path,
            say(
                "field {field}: {escape} is half of a surrogate pair and cannot be tokenized",
                field=path,
                escape=f"\\u{ord(half.group()):04x}",
            ),
            say("Correct the text at its source; remove this half."),
            half.start() + 1,
        )
    hidden = sorted(set(INVISIBLE.findall(text)))
    if hidden:
        yield Remark(
            "W701",
            path,
            say(
                "field {field} contains invisible characters: {names}",
                field=path,
                names=", ".join(character_name(character) for character in hidden[:5]),
            ),
            say("Remove them unless they are intended."),
        )
    special = SPECIAL.search(text)
    if special:
        yield Remark(
            "W707",
            path,
            say(
                "field {field} character {at}: {token} looks like a control token; it is "
                "encoded as plain text",
                field=path,
                at=special.start() + 1,
                token=special.group(),
            ),
            say(
                "If another tool wrote it as a real token, set --data.special_tokens "
                "tokens; otherwise remove it."
            ),
            special.start() + 1,
        )
    secret = SECRETS.search(text)
    if secret:
        kind = next(name for start, name in SECRET_NAMES if secret.group().startswith(start))
        yield Remark(
            "W708",
            path,
            say(
                "field {field} seems to contain {kind} ({masked}…)",
                field=path,
                kind=say(kind),
                masked=secret.group()[:7],
            ),
            say("A trained model can repeat it. Remove it, and revoke it if it is real."),
        )
