"""Control tokens: which spellings are control tokens, and how message content is kept as text.

A control token written by the template is a control token; the same characters in a message are
text. Before rendering, every such spelling in a message is wrapped in two markers. They are digits,
random per process, which survive what templates do with text: trim, tojson, repr, upper case. After
rendering, the markers are removed; their positions tell which spans are text.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any, cast

from tunery.types import is_object

# Tags that models write as part of an answer (<think>, <tool_call>). They are single tokens in
# some vocabularies, are not marked special there, and an assistant's text may contain them.
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9_]*>")
# The form of a control token; ordinary words added to a vocabulary do not have it.
_SHAPED = re.compile(r"[<\[{|｜].*[>\]}|｜]", re.DOTALL)
_NEVER = re.compile(r"(?!)")


def _marker() -> str:
    # The 9 is only at the start, so digits in the text before it cannot shift the match.
    return "9" + "".join(str(secrets.randbelow(9)) for _ in range(23))


_OPEN, _CLOSE = _marker(), _marker()
# Thinking tags inside an answer that the template would mistake for the real ones.
_HIDDEN = {"<think>": _marker(), "</think>": _marker()}
_SHOWN = {marker: tag for tag, marker in _HIDDEN.items()}
_MARKERS = re.compile("(" + "|".join((_OPEN, _CLOSE, *_SHOWN)) + ")")


@dataclass(frozen=True, slots=True)
class Marked:
    """A rendered text with the spans in which content spells a control token.

    Args:
        text: The text, without markers.
        literal: Character spans that must be encoded as text, in order.
        generated: Character spans of ``{% generation %}`` blocks, in order.
    """

    text: str
    literal: tuple[tuple[int, int], ...] = ()
    generated: tuple[tuple[int, int], ...] = ()

    def starts_with(self, other: Marked) -> bool:
        """Whether ``other`` is a prefix of this text, with the same literal spans."""
        length = len(other.text)
        return (
            self.text.startswith(other.text)
            and tuple(span for span in self.literal if span[0] < length) == other.literal
        )

    def slice(self, start: int, end: int | None = None) -> Marked:
        """The part from ``start`` to ``end``; literal spans are shifted and must not be cut."""
        end = len(self.text) if end is None else end
        return Marked(
            self.text[start:end],
            tuple((a - start, b - start) for a, b in self.literal if start <= a and b <= end),
        )


class ControlTokens:
    """The control tokens of one tokenizer and template.

    Args:
        tokenizer: A transformers tokenizer.
        template: The template's source; tags such as ``<tool_response>`` that it writes are
            control tokens too, except in assistant messages.

    Attributes:
        words: Added tokens that are ordinary words.
        ids: IDs of the control tokens other than such tags.
        soft_ids: IDs of the tags that are control tokens.
        by_spelling: Control tokens by spelling.
        added_ids: IDs of all added tokens.
    """

    def __init__(self, tokenizer: Any, template: str) -> None:
        special = set(tokenizer.all_special_tokens)
        hard: dict[str, int] = {}
        soft: dict[str, int] = {}
        self.words: list[str] = []
        for token_id, token in tokenizer.added_tokens_decoder.items():
            spelling = token.content
            if not spelling.strip():
                continue  # runs of blanks (gemma, phi) are ordinary text
            if token.special or spelling in special:
                hard[spelling] = token_id
            elif not _SHAPED.fullmatch(spelling):
                self.words.append(spelling)
            elif not _TAG.fullmatch(spelling):
                hard[spelling] = token_id
            elif spelling in template:
                soft[spelling] = token_id
        # The unknown token represents any character not in the vocabulary; it controls nothing.
        self.ids = frozenset(hard.values()) - {tokenizer.unk_token_id}
        self.soft_ids = frozenset(soft.values())
        self.by_spelling = {**hard, **soft}
        self.added_ids = frozenset(tokenizer.added_tokens_decoder)
        self._hard = _alternatives(hard)
        self._all = _alternatives({**hard, **soft})
        self._normalizer = getattr(
            getattr(tokenizer, "backend_tokenizer", None), "normalizer", None
        )

    def mark(self, value: Any, *, assistant: bool = False) -> Any:
        """Mark the spellings in a string, or in every string of a list or dict.

        Args:
            value: Plain JSON data.
            assistant: True for assistant messages, in which tags stay tags.
        """
        pattern = self._hard if assistant else self._all
        if isinstance(value, str):
            return self._mark_text(value, pattern)
        if is_object(value):
            return {
                self._mark_text(key, pattern): self.mark(item, assistant=assistant)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.mark(item, assistant=assistant) for item in cast("list[Any]", value)]
        return value

    def first_at(self, text: str) -> tuple[str, int] | None:
        """The control token at the start of ``text``, after blanks, with its ID; or None."""
        return self._found(self._hard.match(text.lstrip()))

    def all_in(self, text: str) -> list[int]:
        """The IDs of the control tokens in ``text``, in order."""
        return [self.by_spelling[match.group()] for match in self._hard.finditer(text)]

    def _found(self, match: re.Match[str] | None) -> tuple[str, int] | None:
        return (match.group(), self.by_spelling[match.group()]) if match else None

    def _mark_text(self, text: str, pattern: re.Pattern[str]) -> str:
        if self._normalizer is not None and text and not text.isascii():
            # An added token may match after normalization, which turns full-width letters into
            # plain ones. Then the whole string is marked as text.
            normalized = self._normalizer.normalize_str(text)
            if len(pattern.findall(normalized)) > len(pattern.findall(text)):
                return f"{_OPEN}{text}{_CLOSE}"
        return pattern.sub(f"{_OPEN}\\g<0>{_CLOSE}", text)


class SpelledTokens:
    """Replacement for :class:`ControlTokens` that lets content spell control tokens."""

    def mark(self, value: Any, *, assistant: bool = False) -> Any:
        """Mark nothing."""
        return value


Marker = ControlTokens | SpelledTokens


def hide_tags(text: str) -> str:
    """Replace thinking tags with markers, which ``unmark`` restores as text."""
    for tag, marker in _HIDDEN.items():
        text = text.replace(tag, marker)
    return text


def unmark(text: str, generated: tuple[tuple[int, int], ...] = ()) -> Marked:
    """Remove the markers from a rendered text.

    Args:
        text: What the template wrote.
        generated: Spans of generation blocks, in the marked text.
    """
    if not _MARKERS.search(text):
        return Marked(text, (), generated)
    clean: list[str] = []
    literal: list[tuple[int, int]] = []
    moved: list[tuple[int, int]] = []  # (position in the marked text, characters removed so far)
    length = removed = place = 0
    start: int | None = None
    for piece in _MARKERS.split(text):
        place += len(piece)
        if piece == _OPEN:
            start = length
        elif piece == _CLOSE:
            if start is not None and start < length:
                literal.append((start, length))
            start = None
        elif piece in _SHOWN:
            tag = _SHOWN[piece]
            clean.append(tag)
            literal.append((length, length + len(tag)))
            length += len(tag)
            removed -= len(tag)
        else:
            clean.append(piece)
            length += len(piece)
            continue
        removed += len(piece)
        moved.append((place, removed))
    return Marked(
        "".join(clean),
        tuple(literal),
        tuple((_shift(a, moved), _shift(b, moved)) for a, b in generated),
    )


def _shift(place: int, moved: list[tuple[int, int]]) -> int:
    """Map a position in the marked text to the clean text."""
    removed = 0
    for after, total in moved:
        if after > place:
            break
        removed = total
    return place - removed


def _alternatives(spellings: dict[str, int]) -> re.Pattern[str]:
    longest_first = sorted(spellings, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if spellings else _NEVER
