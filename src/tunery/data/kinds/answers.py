"""Answers that are judged: only they carry loss, and all answers to one prompt are cut together."""

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
"""The prompt's messages say ``train: false`` themselves, so this trains the answers alone."""


def silent(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Messages that carry no loss."""
    return tuple(replace(message, train=False) for message in messages)


def single(rendered: Sequence[list[Rendered]]) -> list[Rendered]:
    """The one row of each answer.

    Raises:
        DataError: E419, the template makes several rows of an answer of several turns.
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
    """Cut all answers to one prompt, or drop them, together.

    Args:
        sides: Prompt and answer, once for each answer.
        rows: Their rows at full length.
        num_prompt: How many first messages are the prompt.
        tools: Settings and renderer.

    Returns:
        The rows, or none and the reason.

    Raises:
        DataError: E703, too long under ``too_long: fail``.
    """
    if not all(too_long.trains(row) for row in rows):
        return [], NO_TRAINED_TOKEN
    if _same(rows):
        return [], NO_DIFFERENCE
    limit, how = tools.data.max_length, tools.data.too_long
    full = max(len(row.input_ids) for row in rows)
    if full <= limit:
        return _remarked(rows), ""
    match how:
        case "fail":
            raise too_long.fail(max(rows, key=lambda row: len(row.input_ids)), limit)
        case "drop" | "split":  # an answer in pieces could not be judged
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
    return _remarked(rows), ""


def _same(rows: list[Rendered]) -> bool:
    """Whether several answers are identical; a template may omit what distinguishes them."""
    return len(rows) > 1 and all(row.input_ids == rows[0].input_ids for row in rows)


def prompt_length(row: Rendered) -> int:
    """Tokens before the first trained one."""
    return row.loss_mask.index(True)


def _remarked(rows: list[Rendered]) -> list[Rendered]:
    """Note where the template writes the shared prompt in different ways."""
    first = rows[0]
    start = prompt_length(first)
    for row in rows[1:]:
        if prompt_length(row) != start or row.input_ids[:start] != first.input_ids[:start]:
            return [replace(first, notes=(*first.notes, PROMPTS_DIFFER)), *rows[1:]]
    return rows


def _right(row: Rendered, limit: int) -> Rendered:
    return too_long.truncate_right(row, limit) if len(row.input_ids) > limit else row


def _left(rows: list[Rendered], count: int, bos: int | None) -> list[Rendered]:
    """Cut the same tokens from every row; none where that would reach an answer."""
    if count >= min(prompt_length(row) for row in rows) - 1:
        return []
    return [too_long.truncate_left(row, len(row.input_ids) - count, bos) for row in rows]


def _fewer_turns(
    sides: Sequence[Conversation], whole: list[Rendered], num_prompt: int, tools: Tools
) -> list[Rendered]:
    """Drop as few early turns of the prompt as needed, at most all but the last."""
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
