"""The bytes of a token, even if they are only part of a character."""

from __future__ import annotations

import re
from typing import Any

from tunery.data.letters import byte_letters

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "▁"


class TokenBytes:
    """Bytes of the tokens of one tokenizer.

    Args:
        tokenizer: A transformers tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        decoder = repr(backend.decoder) if backend is not None else ""
        self._letters = byte_letters() if "ByteLevel" in decoder else {}
        self._falls_back = "ByteFallback" in decoder
        self._marks_spaces = "Metaspace" in decoder or _SPACE in decoder

    def of(self, token: int) -> bytes | None:
        """The bytes of a token; None if the vocabulary does not determine them."""
        piece: str | None = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return None
        if token in self._tokenizer.added_tokens_decoder:
            return piece.encode()
        if self._letters:
            if not all(letter in self._letters for letter in piece):
                return None
            return bytes(self._letters[letter] for letter in piece)
        if self._falls_back and (byte := _BYTE.fullmatch(piece)):
            return bytes.fromhex(byte[1])
        return piece.replace(_SPACE, " ").encode() if self._marks_spaces else None
