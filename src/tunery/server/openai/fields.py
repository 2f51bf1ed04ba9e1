"""Fields of the objects that are converted by hand: content parts, blocks and items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunery.server.faults import no_such_field
from tunery.server.openai.errors import invalid


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one kind of object.

    Args:
        known: Those that are read.
        ignored: Those that clients send, or send back, and that have no effect here.
    """

    known: frozenset[str]
    ignored: frozenset[str] = frozenset()

    def check(self, given: Mapping[str, Any], place: str) -> None:
        """Check the fields of one object; null is the same as a missing value.

        Raises:
            Refused: One of them does not exist.
        """
        for name, value in given.items():
            if value is not None and name not in self.known and name not in self.ignored:
                where = f"{place}.{name[:80]}"
                message = no_such_field(where, name, self.known | self.ignored)
                raise invalid(where, message, code="unknown_parameter")


def fields(known: str, ignored: str = "") -> Fields:
    """Make the fields of an object from names with spaces between."""
    return Fields(frozenset(known.split()), frozenset(ignored.split()))
