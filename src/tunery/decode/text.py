"""Incremental detokenization: never returns half a character or text past a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

HALF = "\ufffd"


class TextStream:
    """Turns one answer's tokens into text, piece by piece.

    A character whose bytes span several tokens is held back until it is complete, and text that
    may be the start of a stop string until it is known not to be.

    Args:
        tokenizer: A transformers tokenizer.
        stop_strings: Strings that end the answer and are not part of it.
    """

    def __init__(self, tokenizer: Any, stop_strings: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop_strings = [text for text in stop_strings if text]
        self._ids: list[int] = []
        self._shown_from = 0
        self._shown_to = 0
        self._held = ""
        self._pieces: list[str] = []
        self.stopped_by = ""

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return bool(self.stopped_by)

    @property
    def text(self) -> str:
        """All text returned so far."""
        return "".join(self._pieces)

    def push(self, token: int) -> str:
        """Add one token; return the text that is now final, often empty."""
        if self.stopped:
            return ""
        self._ids.append(token)
        # Decoded together with the preceding tokens: a tokenizer that marks word starts drops the
        # space before the first word of any piece.
        before = self._decode(self._ids[self._shown_from : self._shown_to])
        now = self._decode(self._ids[self._shown_from :])
        if len(now) <= len(before) or now.endswith(HALF):
            return ""
        self._shown_from, self._shown_to = self._shown_to, len(self._ids)
        return self._release(now[len(before) :])

    def end(self) -> str:
        """Finish and return the text held back; half a character becomes U+FFFD."""
        if self.stopped:
            return ""
        before = self._decode(self._ids[self._shown_from : self._shown_to])
        rest = self._decode(self._ids[self._shown_from :])[len(before) :]
        self._shown_from = self._shown_to = len(self._ids)
        piece = self._release(rest)
        if not self.stopped:
            piece += self._held
            self._pieces.append(self._held)
            self._held = ""
        return piece

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def _release(self, text: str) -> str:
        text = self._held + text
        found = [(at, stop) for stop in self._stop_strings if (at := text.find(stop)) >= 0]
        if found:
            place, self.stopped_by = min(found)
            text, self._held = text[:place], ""
        else:
            keep = max((_overlap(text, stop) for stop in self._stop_strings), default=0)
            text, self._held = text[: len(text) - keep], text[len(text) - keep :]
        self._pieces.append(text)
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of ``text`` that is a prefix of ``stop``."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
