"""Preferred, rejected and labeled answers: only they are trained; a prompt's are cut together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from tunery.chat.remarks import (
    DROPPED,
    NO_DIFFERENCE,
    NO_ROOM,
    NO_TRAINED_TOKEN,
    PROMPTS_DIFFER,
    TURNS_DROPPED,
)
from tunery.config.data import LossOn
from tunery.data import too_long
from tunery.data.kinds.base import Tools
from tunery.errors import DataError
from tunery.i18n import t
from tunery.types import Conversation, Message, Rendered

LOSS_ON: LossOn = "assistant"
"""The prompt's messages have ``train: false``, so this trains only the answers."""


def untrained(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with ``train: false``."""
    return tuple(replace(message, train=False) for message in messages)


def single(rendered: Sequence[list[Rendered]]) -> list[Rendered]:
    """The one row of each answer.

    Raises:
        DataError: E419, the template renders an answer with several turns to several rows.
    """
    if any(len(rows) != 1 for rows in rendered):
        raise DataError(
            t(
                "The answer has several assistant messages and the template renders "
                "earlier turns differently from the last one, so the answer cannot be a "
                "single training row."
            ),
            fix=t("Keep one assistant message per answer, or choose another model.template."),
            code="E419",
        )
    return [rows[0] for rows in rendered]


def fit(
    sides: Sequence[Conversation], rows: list[Rendered], num_prompt: int, tools: Tools
) -> tuple[list[Rendered], str]:
    """Truncate or drop all answers to one prompt together.

    Args:
        sides: For each answer, the conversation of prompt and answer.
        rows: Their rows at full length.
        num_prompt: Number of messages in the prompt.
        tools: Settings and renderer.

    Returns:
        The rows and an empty reason, or no rows and why they are dropped.

    Raises:
        DataError: E703, too long with ``too_long: fail``.
    """
    if not all(too_long.trains(row) for row in rows):
        return [], NO_TRAINED_TOKEN
    if _same(rows):
        return [], NO_DIFFERENCE
    limit, how = tools.data.max_length, tools.data.too_long
    full = max(len(row.input_ids) for row in rows)
    if full <= limit:
        return _with_notes(rows), ""
    match how:
        case "fail":
            raise too_long.fail(max(rows, key=lambda row: len(row.input_ids)), limit)
        case "drop" | "split":  # a loss over whole answers cannot use an answer in pieces
            return [], DROPPED
        case "turns":
            rows = [_right(row, limit) for row in _fewer_turns(sides, rows, num_prompt, tools)]
        case "truncate_right":
            rows = [_right(row, limit) for row in rows]
        case "truncate_left":
            rows = _left(rows, full - limit, tools.bos)
        case _:
            assert_never(how)
    if not rows or not all(too_long.trains(row) for row in rows):
        return [], NO_ROOM
    if _same(rows):
        return [], NO_DIFFERENCE
    return _with_notes(rows), ""


def _same(rows: list[Rendered]) -> bool:
    """Whether several answers are identical; a template may omit what distinguishes them."""
    return len(rows) > 1 and all(row.input_ids == rows[0].input_ids for row in rows)


def prompt_length(row: Rendered) -> int:
    """Number of tokens before the first trained token."""
    return row.loss_mask.index(True)


def _with_notes(rows: list[Rendered]) -> list[Rendered]:
    """Add a remark if the template renders the shared prompt differently for each answer."""
    first = rows[0]
    start = prompt_length(first)
    for row in rows[1:]:
        if prompt_length(row) != start or row.input_ids[:start] != first.input_ids[:start]:
            return [replace(first, notes=(*first.notes, PROMPTS_DIFFER)), *rows[1:]]
    return rows


def _right(row: Rendered, limit: int) -> Rendered:
    return too_long.truncate_right(row, limit) if len(row.input_ids) > limit else row


def _left(rows: list[Rendered], count: int, bos: int | None) -> list[Rendered]:
    """Remove the same first tokens from every row; no rows if that would reach an answer."""
    if count >= min(prompt_length(row) for row in rows) - 1:
        return []
    return [too_long.truncate_left(row, len(row.input_ids) - count, bos) for row in rows]


def _fewer_turns(
    sides: Sequence[Conversation], whole: list[Rendered], num_prompt: int, tools: Tools
) -> list[Rendered]:
    """Drop as few early turns of the prompt as needed; the last turn is always kept."""
    prompt = sides[0].messages[:num_prompt]
    lead = 0
    while lead < num_prompt and prompt[lead].role == "system":
        lead += 1
    starts = [i for i in range(lead, num_prompt) if prompt[i].role == "user"]
    found, low, high = whole, 1, len(starts) - 1
    while low <= high:
        middle = (low + high) // 2
        rows = _without(sides, lead, starts[middle], tools)
        fits = all(len(row.input_ids) <= tools.data.max_length for row in rows)
        if fits or middle == len(starts) - 1:
            found = rows
        low, high = (low, middle - 1) if fits else (middle + 1, high)
    return [
        replace(
            row,
            cut=len(before.input_ids) - len(row.input_ids),
            notes=(*row.notes, TURNS_DROPPED),
        )
        if row is not before
        else row
        for row, before in zip(found, whole, strict=True)
    ]


def _without(sides: Sequence[Conversation], lead: int, start: int, tools: Tools) -> list[Rendered]:
    shorter = [
        replace(side, messages=side.messages[:lead] + side.messages[start:]) for side in sides
    ]
    return single([tools.render(side, LOSS_ON) for side in shorter])
