"""Preview of training rows: readable tokens, which of them are trained, and counts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunery.chat.remarks import CUT_LEFT, CUT_RIGHT, DROPPED, NO_ROOM, SPLIT
from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig
from tunery.data.kinds import row_kind
from tunery.data.letters import token_texts
from tunery.data.problems import Phrase
from tunery.data.tokenize import Tokenized, tokenize
from tunery.errors import DataError
from tunery.i18n import t
from tunery.types import Example, Rendered


@dataclass(frozen=True, slots=True)
class RowPreview:
    """One training row, ready for display.

    Args:
        text: The text of the row.
        input_ids: Its token IDs. Shape ``[T]``.
        loss_mask: 1 where the token is trained, otherwise 0. Shape ``[T]``.
        tokens: The text of each token; a part of a character is written as ``<0xE4>``.
        special: Whether each token is a control token or special token. Shape ``[T]``.
        cut: Number of tokens that did not fit.
        notes: Remarks about rendering and truncation.
    """

    text: str
    input_ids: list[int]
    loss_mask: list[int]
    tokens: list[str]
    special: list[bool]
    cut: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``tunery data preview --json``."""
        return {
            "text": self.text,
            "input_ids": self.input_ids,
            "loss_mask": self.loss_mask,
            "tokens": self.tokens,
            "trained": sum(self.loss_mask),
            "total": len(self.input_ids),
            "cut": self.cut,
        }


@dataclass(frozen=True, slots=True)
class ExamplePreview:
    """The training rows of one example.

    Args:
        rows: Its training rows; for a dropped example, the rows it would have had.
        dropped: Why a run would drop the example; empty if it is used.
        sides: Names of the rows if they are trained together, such as chosen and rejected.
        said: Properties of the example beside its texts, as phrases.
        facts: The same properties as numbers, as the method reads them.
    """

    rows: list[RowPreview]
    dropped: str = ""
    sides: tuple[Phrase, ...] = ()
    said: tuple[Phrase, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def shared(self) -> int:
        """Number of tokens that all sides start with, before the first trained token."""
        first = self.rows[0]
        most = min(_prompt_length(row) for row in self.rows)
        for row in self.rows[1:]:
            same = (a == b for a, b in zip(first.input_ids, row.input_ids, strict=False))
            most = min(most, sum(1 for _ in itertools.takewhile(bool, same)))
        return most

    def as_dict(self, row: RowPreview) -> dict[str, Any]:
        """Plain data for ``tunery data preview --json``: one row, or all sides of a group."""
        facts = {"facts": dict(self.facts)} if self.facts else {}
        if not self.sides:
            return row.as_dict() | facts
        sides = zip(self.sides, self.rows, strict=True)
        return {
            "sides": {str(name): each.as_dict() for name, each in sides},
            "shared_prompt": self.shared,
            "facts": dict(self.facts),
        }


def _prompt_length(row: RowPreview) -> int:
    return row.loss_mask.index(1) if 1 in row.loss_mask else len(row.loss_mask)


def preview_example(
    example: Example, template: ChatTemplate | None, tokenizer: Any, data: DataConfig
) -> ExamplePreview:
    """Tokenize an example as a run with these settings would, for display.

    Raises:
        DataError: The template rejects the example, or it is too long with ``too_long: fail``.
    """
    result = tokenize(example, template, tokenizer, data)
    rows, cut_all = result.rows, False
    if result.dropped_reason:
        rows = _whole(example, template, tokenizer, data, result)
        cut_all = result.dropped_reason in (DROPPED, NO_ROOM)
    control = template.control.ids if template is not None else frozenset[int]()
    special = control | set(tokenizer.all_special_ids)
    kind = row_kind(example)
    return ExamplePreview(
        [_row(row, tokenizer, special, cut_all=cut_all) for row in rows],
        result.dropped_reason,
        kind.sides,
        tuple(kind.said(example)),
        result.groups[0].facts if result.groups else {},
    )


def _whole(
    example: Example,
    template: ChatTemplate | None,
    tokenizer: Any,
    data: DataConfig,
    result: Tokenized,
) -> list[Rendered]:
    """The rows of a dropped example without the length limit."""
    kind = row_kind(example)
    conversations = kind.conversations(example)
    if conversations and template is not None:
        loss_on = kind.loss_on or data.loss_on
        return [
            row
            for each in conversations
            for row in template.render(
                each, loss_on=loss_on, thinking=data.thinking, special_tokens=data.special_tokens
            )
        ]
    unlimited = data.model_copy(update={"max_length": max(result.full_length, 8)})
    return tokenize(example, template, tokenizer, unlimited).rows


def _row(
    row: Rendered, tokenizer: Any, special: frozenset[int] | set[int], *, cut_all: bool
) -> RowPreview:
    tokens = token_texts(tokenizer, row.input_ids)
    shortened = {CUT_RIGHT, CUT_LEFT, SPLIT} & set(row.notes)
    text = row.text
    if shortened:
        text = tokenizer.decode(
            row.input_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
    return RowPreview(
        text,
        list(row.input_ids),
        [int(trained) for trained in row.loss_mask],
        tokens,
        [token in special for token in row.input_ids],
        len(row.input_ids) if cut_all else row.cut,
        row.notes,
    )


def no_such_row(name: str, row: int, rows: int) -> DataError:
    """The error for a row number outside the dataset."""
    if row < 1:
        message = t("{name}: --row {row}: rows are numbered from 1.", name=name, row=row)
    else:
        message = t("{name}: there is no row {row}; it has {rows}.", name=name, row=row, rows=rows)
    return DataError(message, fix=t("Give a number from 1 to {count}.", count=rows), row=row)
