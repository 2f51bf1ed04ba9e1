"""Tokens as readable text, with the tokens of one character joined.

Byte-level vocabularies split Chinese characters, emoji and accented letters between tokens.
``token_texts`` writes a part of a character as its bytes; ``grouped`` joins the tokens that form
one character. The page and the terminal both use this module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

BYTES = re.compile(r"<0x([0-9A-F]{2})>")
BYTES_ONLY = re.compile(r"(?:<0x[0-9A-F]{2}>)+")
BROKEN_AT_END = re.compile(r"<0x[0-9A-F]{2}>$")

Token = tuple[int, str, int, bool]
"""ID, text from ``token_texts``, whether it is trained, whether it is special."""


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The readable text of each token.

    Byte-level tokens are decoded to characters; a part of a character is written as its bytes, such
    as ``<0xE4>``. If no character is split, the concatenated texts are the whole text.
    """
    raw: list[str] = tokenizer.convert_ids_to_tokens(list(ids))
    added = tokenizer.added_tokens_decoder
    byte_level = "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder)
    return [
        piece if token in added else _readable(piece, byte_level=byte_level)
        for piece, token in zip(raw, ids, strict=True)
    ]


def grouped(tokens: Sequence[Token], *, start: int) -> list[dict[str, Any]]:
    """Join tokens that together form one character.

    Args:
        tokens: ID, text (parts of a character as ``<0xE4>``), trained, special.
        start: Position of the first token in its row.

    Returns:
        One ``{"text", "ids", "position", "trained", "special"}`` per group; every token is in
        exactly one group.
    """
    groups: list[list[Token]] = []
    for token in tokens:
        last = groups[-1] if groups else None
        if last is not None and _continues(last, token):
            last.append(token)
        else:
            groups.append([token])
    found: list[dict[str, Any]] = []
    position = start
    for group in groups:
        text = "".join(token[1] for token in group)
        found.append(
            {
                "text": text if group[0][3] else _letters(text),
                "ids": [token[0] for token in group],
                "position": position,
                "trained": bool(group[0][2]),
                "special": group[0][3],
            }
        )
        position += len(group)
    return found


def _continues(group: list[Token], token: Token) -> bool:
    """Whether the group ends with part of a character that the token continues."""
    _, _, trained, special = group[0]
    if special or token[3] or bool(token[2]) != bool(trained):
        return False
    text = "".join(each[1] for each in group)
    return bool(BROKEN_AT_END.search(text)) and not _is_whole(text) and bool(BYTES.match(token[1]))


def _is_whole(text: str) -> bool:
    """Whether the bytes at the end of a text form complete characters."""
    tail = re.search(r"(?:<0x[0-9A-F]{2}>)+$", text)
    try:
        bytes.fromhex("".join(BYTES.findall(tail.group() if tail else ""))).decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return True


def _letters(text: str) -> str:
    def decode(run: re.Match[str]) -> str:
        return bytes.fromhex("".join(BYTES.findall(run.group()))).decode("utf-8", "replace")

    return BYTES_ONLY.sub(decode, text)


def byte_letters() -> dict[str, int]:
    """GPT-2's table: the character that represents each byte in a byte-level vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {chr(byte): byte for byte in plain}
    return letters | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = byte_letters()
_ASCII_BYTE = re.compile(r"<0x[0-7][0-9A-F]>")


def _readable(piece: str, *, byte_level: bool) -> str:
    if not byte_level:
        if _ASCII_BYTE.fullmatch(piece):
            return chr(int(piece[3:5], 16))
        return piece.replace("▁", " ")
    try:
        data = bytes(_BYTES[letter] for letter in piece)
    except KeyError:
        return piece  # an added token, which is plain text
    return _decode(data)


def _decode(data: bytes) -> str:
    """Decode complete characters and write other bytes as ``<0xE4>``."""
    text, place = "", 0
    while place < len(data):
        try:
            return text + data[place:].decode("utf-8")
        except UnicodeDecodeError as error:
            text += data[place : place + error.start].decode("utf-8")
            broken = data[place + error.start : place + error.end]
            text += "".join(f"<0x{byte:02X}>" for byte in broken)
            place += error.end
    return text
