"""Placeholders such as ``{{name}}`` in rows: fill them and find unfilled ones."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tunery.data.kinds import row_kind
from tunery.types import Example

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Replace placeholders with the values of the variables; unknown placeholders stay."""
    if "{{" not in text:
        return text
    return PLACEHOLDER.sub(lambda m: variables.get(m.group(1), m.group()), text)


def fill_example(example: Example, variables: Mapping[str, str]) -> Example:
    """Fill the placeholders in every text of an example."""
    return row_kind(example).with_texts(example, lambda text: fill(text, variables))


def unfilled(example: Example, variables: Mapping[str, str]) -> list[str]:
    """Names of an example's placeholders without a variable, in order, each once."""
    names: dict[str, None] = {}
    for text in row_kind(example).texts(example):
        if "{{" in text:
            names.update(dict.fromkeys(PLACEHOLDER.findall(text)))
    return [name for name in names if name not in variables]
