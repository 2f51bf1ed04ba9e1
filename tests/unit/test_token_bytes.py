"""What a token stands for, in bytes, for every kind of vocabulary."""

from __future__ import annotations

import pytest
from tests.families import FAMILIES, family

from tunery.decode.token_bytes import TokenBytes


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_bytes_of_tokens_are_those_of_the_text(name: str) -> None:
    tokenizer = family(name)
    spelled = TokenBytes(tokenizer)
    text = "Hello there, 你好 naïve 🐟 end"
    ids = tokenizer.encode(text, add_special_tokens=False)
    found = [spelled.of(token) for token in ids]
    assert None not in found
    joined = b"".join(data for data in found if data is not None).decode()
    assert joined.removeprefix(" ") == text
    assert spelled.of(tokenizer.eos_token_id) == str(tokenizer.eos_token).encode()
    assert spelled.of(10_000_000) is None
