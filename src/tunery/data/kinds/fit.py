"""Check that the rows of a dataset fit the method."""

from __future__ import annotations

from typing import Any

from tunery.config.methods import METHODS
from tunery.data.kinds.base import Finding, RowKind
from tunery.data.problems import NOTHING, Phrase, say


def fits(wanted: RowKind[Any], found: RowKind[Any], instead: Phrase = NOTHING) -> Finding | None:
    """Check, before anything is loaded, whether a method can train on rows.

    Args:
        wanted: The kind that the method needs.
        found: The kind of the rows.
        instead: Advice how to read the same file as single answers.

    Returns:
        Why the method cannot use the rows, or None if they fit.
    """
    if wanted is found or not (wanted.code or found.code):
        return None
    return Finding(
        found.code or "E507",
        say(
            "this is {what}; the method learns from {learned}",
            what=found.what,
            learned=wanted.learned,
        ),
        _remedy(wanted, found, NOTHING if wanted.code else instead),
    )


def flags_for(kind: RowKind[Any]) -> Phrase:
    """The flag that selects a method for these rows, and the other methods; NOTHING if none does.

    For example ``--method.type dpo (or orpo, cpo)``: up to the parenthesis it can be typed as is.
    """
    first, *others = [
        each.model_fields["type"].default for each in METHODS if each.rows == kind.name
    ] or [None]
    if first is None:
        return NOTHING
    flag = Phrase(f"--method.type {first}")
    return say("{flag} (or {others})", flag=flag, others=", ".join(others)) if others else flag


def _remedy(wanted: RowKind[Any], found: RowKind[Any], instead: Phrase) -> Phrase:
    flags = flags_for(found)
    if flags is NOTHING and instead is NOTHING:
        return say("Choose a dataset with {learned}.", learned=wanted.learned)
    if flags is NOTHING:
        return instead
    if instead is NOTHING:
        return say("Train with {flags}.", flags=flags)
    return say("Train with {flags}. {instead}", flags=flags, instead=instead)
