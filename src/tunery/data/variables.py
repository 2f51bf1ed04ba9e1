"""``{{name}}`` in rows: filling placeholders, and finding the ones left unfilled."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tunery.data.kinds import row_kind
from tunery.types import Example

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Put the variables' values in their places; other placeholders stay."""
    if "{{" not in text:
        return text
    return PLACEHOLDER.sub(lambda m: variables.get(m.group(1), m.group()), text)


def fill_example(example: Example, variables: Mapping[str, str]) -> Example:
    """Fill every text of an example; the example is returned unchanged where nothing is to fill."""
    return row_kind(example).with_texts(example, lambda text: fill(text, variables))


def unfilled(example: Example, variables: Mapping[str, str]) -> list[str]:
    """Names of the placeholders of an example that no variable fills, in order, each once."""
    names: dict[str, None] = {}
    for text in row_kind(example).texts(example):
        if "{{" in text:
            names.update(dict.fromkeys(PLACEHOLDER.findall(text)))
    return [name for name in names if name not in variables]
