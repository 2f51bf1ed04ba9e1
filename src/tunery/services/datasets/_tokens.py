"""One row as the model sees it, ready to be drawn: characters with their tokens, and what is cut.

The tokens are those of ``_preview``, which a run trains on; here they are only joined where several
of them encode one character, so that no broken character is ever shown. Heavy: the web process asks
the warm one (``preview_row``, ``statistics``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunery.chat.remarks import in_words
from tunery.config.config import Config
from tunery.config.load import from_tokens
from tunery.data.letters import Token, grouped
from tunery.data.problems import Phrase
from tunery.services.datasets import _preview
from tunery.services.datasets._preview import ShownRow

if TYPE_CHECKING:
    from tunery.data.preview import RowPreview

UNLIMITED = 4_194_304


def answer_preview(
    name: str, words: list[str], *, row: int = 1, part: int | None = None
) -> dict[str, Any]:
    """Show one row as a run with these settings trains on it.

    Args:
        name: Any name of a dataset.
        words: Settings as command-line arguments, such as ``["--model.name", "demo"]``.
        row: Number of the row, from 1.
        part: Which of its training rows; the last by default.

    Returns:
        The output of ``tunery data preview --json``, plus ``pieces`` to draw, cut ones included.

    Raises:
        TuneryError: The dataset, the row or the model was not found, or the template rejects it.
    """
    config = _config(words)
    shown = _preview.show_row(name, config, row=row)
    chosen = _preview.pick_part(shown, part)
    sides = shown.example.sides
    drawn = list(enumerate(shown.example.rows)) if sides else [((part or 0) - 1, chosen)]
    rows = [(each, _pieces(each, (name, config, row, at))) for at, each in drawn]
    notes = [note for each, _ in rows for note in each.notes]
    parts = 1 if sides else len(shown.example.rows)
    return {
        **_preview.part_as_dict(shown, part),
        **(
            {"drawn": [_side(*each, side) for each, side in zip(rows, sides, strict=True)]}
            if sides
            else {"pieces": rows[0][1]}
        ),
        "said": [phrase.local() for phrase in shown.example.said],
        "row": row,
        "rows": shown.rows,
        "part": part or parts,
        "parts": parts,
        "place": shown.place,
        "template": shown.template,
        "max_length": config.data.max_length,
        "warnings": _warnings(shown, [each for each, _ in rows]),
        "notes": [in_words(note) for note in dict.fromkeys(notes)],
    }


def answer_statistics(name: str, words: list[str]) -> dict[str, Any]:
    """Tokenize a whole dataset as a run with these settings would, and summarize it."""
    return _preview.statistics(name, _config(words))


def _config(words: list[str]) -> Config:
    """The settings; a model that must be downloaded first is an error here, not a download.

    Placeholders are shown unfilled; a notice next to the row says that they are left.
    """
    from tunery.models.resolve import resolve

    config = from_tokens(words).config
    resolve(config.model.name)
    data = config.data.model_copy(update={"accept": [*config.data.accept, "W706"]})
    return config.model_copy(update={"data": data})


Place = tuple[str, Config, int, int]
"""A row of a dataset: its name, the settings, the row's number, the index of its part."""


def _pieces(row: RowPreview, place: Place) -> list[dict[str, Any]]:
    tokens = _tokens(row)
    pieces = grouped(tokens, start=0)
    return _with_cut(pieces, tokens, _whole(*place)) if row.cut else pieces


def _side(row: RowPreview, pieces: list[dict[str, Any]], name: Phrase) -> dict[str, Any]:
    counts = {key: row.as_dict()[key] for key in ("trained", "total", "cut")}
    return {"name": name.local(), "pieces": pieces, **counts}


def _tokens(row: RowPreview) -> list[Token]:
    return list(zip(row.input_ids, row.tokens, row.loss_mask, row.special, strict=True))


def _whole(name: str, config: Config, row: int, at: int) -> list[Token]:
    """The row as it would be without a limit."""
    data = config.data.model_copy(update={"max_length": UNLIMITED})
    shown = _preview.show_row(name, config.model_copy(update={"data": data}), row=row)
    rows = shown.example.rows
    return _tokens(rows[at] if at < len(rows) else rows[-1])


def _with_cut(
    pieces: list[dict[str, Any]], kept: Sequence[Token], whole: Sequence[Token]
) -> list[dict[str, Any]]:
    """Insert the tokens that were cut; they are left out if the rest was rewritten too."""
    ids, all_ids = [token[0] for token in kept], [token[0] for token in whole]
    head = 0
    while head < len(ids) and head < len(all_ids) and ids[head] == all_ids[head]:
        head += 1
    tail = len(ids) - head
    if ids == all_ids or (tail and all_ids[-tail:] != ids[head:]):
        return pieces if ids != all_ids else [{**piece, "cut": True} for piece in pieces]
    missing = whole[head : len(all_ids) - tail]
    cut = [{**piece, "cut": True} for piece in grouped(missing, start=head)]
    before = grouped(kept[:head], start=0)
    return [*before, *cut, *grouped(kept[head:], start=head)]


def _warnings(shown: ShownRow, rows: Sequence[RowPreview]) -> list[dict[str, str]]:
    found = [{"code": "template", "text": notice} for notice in shown.notices]
    if shown.example.dropped:
        found.insert(0, {"code": "dropped", "text": in_words(shown.example.dropped)})
    if not all(any(row.loss_mask) for row in rows):
        found.insert(0, {"code": "untrained", "text": ""})
    return found
