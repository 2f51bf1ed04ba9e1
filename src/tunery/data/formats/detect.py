"""Detect the format of a dataset from its first rows."""

from __future__ import annotations

from collections.abc import Sequence

from tunery.data.formats import FORMATS
from tunery.data.formats.base import Row, RowOptions

SAMPLE_ROWS = 32


def detect(rows: Sequence[Row], options: RowOptions) -> str | None:
    """Name of the format that fits the rows best; None if none fits.

    Each row votes for its best format, so that a single unusual row does not decide.
    """
    rows = rows[:SAMPLE_ROWS]
    winner = _most_votes(rows, options)
    label = options.column("label")
    if winner == "unpaired" and _are_classes([row.get(label) for row in rows]):
        # Numbers such as 0 to 4 are classes, so a 0 does not mean a bad answer.
        return _most_votes([{k: row[k] for k in row if k != label} for row in rows], options)
    return winner


def _most_votes(rows: Sequence[Row], options: RowOptions) -> str | None:
    votes: dict[str, float] = {}
    for row in rows:
        name, score = best(row, options)
        if name is not None:
            votes[name] = votes.get(name, 0.0) + score
    return max(votes, key=lambda name: votes[name]) if votes else None


def _are_classes(labels: Sequence[object]) -> bool:
    numbers = [each for each in labels if isinstance(each, int | float)]
    return not any(isinstance(each, bool) for each in numbers) and any(
        each not in (0, 1) for each in numbers
    )


def best(row: Row, options: RowOptions) -> tuple[str | None, float]:
    """The best format of one row and its score.

    Preference and labeled rows also match other formats, so these two are tried first.
    """
    winner: str | None = None
    top = 0.0
    for name in ("preference", "unpaired", *FORMATS):
        score = FORMATS.get(name).score(row, options)
        if name in ("preference", "unpaired") and score > 0:
            return name, 1.0
        if score > top:
            winner, top = name, score
    return winner, top
