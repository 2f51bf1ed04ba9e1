"""Row kinds: the types of examples. Each has a file; this tuple lists them all."""

from __future__ import annotations

from typing import Any

from tunery.data.kinds.base import Finding, RenderedGroup, RowKind, Tokenized, Tools
from tunery.data.kinds.conversation import ConversationKind
from tunery.data.kinds.fit import fits, flags_for
from tunery.data.kinds.labelled import LabelledKind
from tunery.data.kinds.pair import PairKind
from tunery.data.kinds.text import TextKind
from tunery.types import Example

ROW_KINDS: tuple[RowKind[Any], ...] = (ConversationKind(), TextKind(), PairKind(), LabelledKind())
_BY_TYPE = {kind.type: kind for kind in ROW_KINDS}
_BY_NAME = {kind.name: kind for kind in ROW_KINDS}


def row_kind(example: Example) -> RowKind[Any]:
    """The kind of an example."""
    return _BY_TYPE[type(example)]


def row_kind_of(type_: type[Example]) -> RowKind[Any]:
    """The kind of examples of a type."""
    return _BY_TYPE[type_]


def row_kind_named(name: str) -> RowKind[Any]:
    """The kind with a name, as in ``rows`` of a method.

    Raises:
        KeyError: There is no such kind.
    """
    return _BY_NAME[name]


__all__ = [
    "ROW_KINDS",
    "Finding",
    "RenderedGroup",
    "RowKind",
    "Tokenized",
    "Tools",
    "fits",
    "flags_for",
    "row_kind",
    "row_kind_named",
    "row_kind_of",
]
