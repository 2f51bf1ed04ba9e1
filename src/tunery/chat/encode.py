"""Encode rendered text to token IDs; training, chat and evaluation share this encoder.

If no message spells a control token, the whole text goes to the tokenizer, as in
``apply_chat_template``. Otherwise the text is encoded in pieces, and the spelled control tokens
without any added token (see control.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import Any

from tunery import panics
from tunery.chat import refusals
from tunery.chat.control import ControlTokens, Marked
from tunery.errors import DataError, panic_reason


class Encoder:
    """Encodes rendered texts with one tokenizer; never adds BOS or EOS itself.

    Args:
        tokenizer: A fast transformers tokenizer.
        control: Its control tokens.

    Raises:
        ModelError: The tokenizer is not a fast tokenizer.
    """

    def __init__(self, tokenizer: Any, control: ControlTokens) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise refusals.slow_tokenizer(str(getattr(tokenizer, "name_or_path", "tokenizer")))
        self.control = control
        self._backend = tokenizer.backend_tokenizer
        self._newline = self._encode("\n")
        # If the tokenizer adds no prefix space to a text, a piece needs no newline in front.
        self._plain_start = self._after_newline("a", self._encode) == self._encode("a")

    def encode(self, marked: Marked) -> list[int]:
        """Encode one text.

        Raises:
            DataError: The text contains half of an emoji, the tokenizer crashes on it (E113, E114),
                or a spelled control token cannot be encoded as text.
        """
        (found,) = self.encode_many([marked])
        if isinstance(found, DataError):
            raise found
        return found

    def encode_many(self, texts: Sequence[Marked]) -> list[list[int] | DataError]:
        """Encode many texts, those without literal spans in one multi-threaded batch.

        Returns:
            For each text, its token IDs or the error.
        """
        whole = [marked.text for marked in texts if not marked.literal and _is_whole(marked)]
        self._reset()
        try:
            with panics_as_errors():
                batch = self._backend.encode_batch_fast(whole, add_special_tokens=False)
        except DataError:  # encode one by one to find the text that failed
            return [self._tried(marked) for marked in texts]
        encoded = iter(batch)
        return [
            self._tried(marked) if marked.literal or not _is_whole(marked) else next(encoded).ids
            for marked in texts
        ]

    def _tried(self, marked: Marked) -> list[int] | DataError:
        if not _is_whole(marked):
            return refusals.half_letter()
        try:
            return self._encode_pieces(marked) if marked.literal else self._encode(marked.text)
        except DataError as error:
            return error

    def encode_rest(self, marked: Marked) -> list[int]:
        """Encode a text that continues another one, without a prefix space."""
        return self._encode_pieces(marked, middle=True) if marked.text else []

    def encode_with_offsets(self, marked: Marked) -> tuple[list[int], list[tuple[int, int]]]:
        """Encode one text and return the character span of each token too.

        All tokens of a literal span get that whole span.

        Raises:
            DataError: As in :meth:`encode`.
        """
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        if not marked.literal:
            encoding = self._encoding(marked.text)
            return encoding.ids, encoding.offsets
        for start, end, literal in _pieces(marked):
            piece = marked.text[start:end]
            piece_ids = self._piece(piece, literal=literal, middle=start > 0)
            if literal:
                piece_offsets = [(start, end)] * len(piece_ids)
            else:
                encoding = self._encoding(piece)
                exact = encoding.ids == piece_ids
                piece_offsets = (
                    [(a + start, b + start) for a, b in encoding.offsets]
                    if exact
                    else [(start, end)] * len(piece_ids)
                )
            ids += piece_ids
            offsets += piece_offsets
        return ids, offsets

    def _reset(self) -> None:
        # tokenizer.json may enable truncation or padding, and other code may set these flags.
        self._backend.no_truncation()
        self._backend.no_padding()
        if self._backend.encode_special_tokens:
            self._backend.encode_special_tokens = False

    def _encode(self, text: str) -> list[int]:
        return self._encoding(text).ids

    def _encoding(self, text: str) -> Any:
        self._reset()
        with panics_as_errors():
            return self._backend.encode(text, add_special_tokens=False)

    def _encode_pieces(self, marked: Marked, *, middle: bool = False) -> list[int]:
        ids: list[int] = []
        for start, end, literal in _pieces(marked):
            ids += self._piece(marked.text[start:end], literal=literal, middle=middle or start > 0)
        return ids

    def _piece(self, text: str, *, literal: bool, middle: bool) -> list[int]:
        encode = self._encode_as_text if literal else self._encode
        ids = self._after_newline(text, encode) if middle and self._needs_care() else encode(text)
        if literal and not self.control.ids.isdisjoint(ids):
            # The vocabulary also has the spelling as a plain token: split after one character.
            ids = self._encode_as_text(text[:1]) + self._encode_as_text(text[1:])
            if not self.control.ids.isdisjoint(ids):
                raise refusals.always_control(text)
        return ids

    def _needs_care(self) -> bool:
        return not self._plain_start

    def _after_newline(self, text: str, encode: Any) -> list[int]:
        """Encode after a newline and remove it: some tokenizers add a space before a text."""
        ids = encode("\n" + text)
        newline = self._newline
        return ids[len(newline) :] if ids[: len(newline)] == newline else encode(text)

    def _encode_as_text(self, text: str) -> list[int]:
        """Run the tokenizer without its added tokens, special or not."""
        with panics_as_errors():
            if self._backend.normalizer is not None:
                text = self._backend.normalizer.normalize_str(text)
            splits = [text]
            if self._backend.pre_tokenizer is not None:
                splits = [split for split, _ in self._backend.pre_tokenizer.pre_tokenize_str(text)]
            return [token.id for split in splits for token in self._backend.model.tokenize(split)]


@contextlib.contextmanager
def panics_as_errors() -> Generator[None]:
    """Turn a panic of the tokenizer into a DataError about the text.

    Oniguruma aborts a regular expression of tokenizer.json after 10 million backtracking steps,
    which tokenizers turns into a panic.

    Raises:
        DataError: E114, the tokenizer panicked.
    """
    try:
        with panics.native_call():
            yield
    except BaseException as error:
        why = panic_reason(error)
        if why is None:
            raise
        raise refusals.not_split(why) from error


def _is_whole(marked: Marked) -> bool:
    """Whether a text can be encoded at all: half an emoji (a lone surrogate) cannot."""
    try:
        return marked.text.isascii() or bool(marked.text.encode())
    except UnicodeEncodeError:
        return False


def _pieces(marked: Marked) -> list[tuple[int, int, bool]]:
    """Split a text at its literal spans into non-empty pieces: (start, end, literal)."""
    pieces: list[tuple[int, int, bool]] = []
    place = 0
    for start, end in marked.literal:
        if place < start:
            pieces.append((place, start, False))
        pieces.append((start, end, True))
        place = end
    if place < len(marked.text):
        pieces.append((place, len(marked.text), False))
    return pieces
