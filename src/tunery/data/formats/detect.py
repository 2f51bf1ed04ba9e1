"""Which format the first rows of a dataset have."""

from __future__ import annotations

from collections.abc import Sequence

from tunery.data.formats import FORMATS
from tunery.data.formats.base import Row, RowOptions

SAMPLE_ROWS = 32


def detect(rows: Sequence[Row], options: RowOptions) -> str | None:
    """Name the format that fits most of the rows best; None where none does.

    The most frequent best format wins, so that one odd row at the top does not decide.
    """
    rows = rows[:SAMPLE_ROWS]
    winner = _most_votes(rows, options)
    label = options.column("label")
    if winner == "unpaired" and _are_classes([row.get(label) for row in rows]):
        # Numbers such as 0 to 4 are classes; a 0 among them marks no bad answer.
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

    Preference and labelled rows also look like other formats, so they are asked first.
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
