"""Shorten rows that are longer than ``max_length``: truncate, split or drop turns.

Truncation on the right removes the stop token and adds none, so the model does not learn to stop
where a response was cut. Pieces without trained tokens are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tunery.chat.remarks import CUT_LEFT, CUT_RIGHT, SPLIT, TURNS_DROPPED
from tunery.errors import DataError
from tunery.i18n import t
from tunery.types import Conversation, Message, Rendered

Render = Callable[[Conversation], list[Rendered]]


def fail(row: Rendered, max_length: int) -> DataError:
    """Make E703 for a row longer than ``max_length``, for ``too_long: fail``."""
    length = len(row.input_ids)
    return DataError(
        t(
            "The row has {length} tokens, more than data.max_length={limit}.",
            length=length,
            limit=max_length,
        ),
        fix=t(
            "Set data.max_length to {length} or more, if the model supports that length, "
            "or choose another data.too_long.",
            length=length,
        ),
        code="E703",
        tokens=length,
    )


def truncate_right(row: Rendered, max_length: int) -> Rendered:
    """Keep the first ``max_length`` tokens of a row."""
    return _part(row, slice(0, max_length), CUT_RIGHT)


def truncate_left(row: Rendered, max_length: int, bos: int | None) -> Rendered:
    """Keep the last ``max_length`` tokens of a row, including BOS in front if the row has one."""
    if bos is not None and row.input_ids[:1] == [bos]:
        kept = _part(row, slice(len(row.input_ids) - max_length + 1, None), CUT_LEFT)
        return replace(
            kept,
            input_ids=[bos, *kept.input_ids],
            loss_mask=[False, *kept.loss_mask],
            cut=kept.cut - 1,
        )
    return _part(row, slice(len(row.input_ids) - max_length, None), CUT_LEFT)


def split(row: Rendered, max_length: int) -> list[Rendered]:
    """Split a row into pieces of at most ``max_length`` tokens.

    Pieces that train nothing are dropped; ``cut`` of the first kept piece counts their tokens.
    """
    if len(row.input_ids) <= max_length:
        return [row]
    pieces = [
        Rendered(
            row.text,
            row.input_ids[start:end],
            row.loss_mask[start:end],
            notes=(*row.notes, SPLIT),
        )
        for start, end in bounds(len(row.input_ids), max_length)
    ]
    kept = [piece for piece in pieces if trains(piece)]
    lost = sum(len(piece.input_ids) for piece in pieces) - sum(
        len(piece.input_ids) for piece in kept
    )
    return [
        replace(piece, parts=len(kept), cut=lost if n == 0 else 0) for n, piece in enumerate(kept)
    ]


def bounds(length: int, max_length: int) -> list[tuple[int, int]]:
    """Start and end of each piece of ``length`` tokens; the last piece has at least two tokens.

    The first token of a piece is never predicted, so a piece of one token would train nothing.
    """
    starts = list(range(0, length, max_length))
    if len(starts) > 1 and length - starts[-1] == 1:
        starts[-1] -= 1
    return list(zip(starts, [*starts[1:], length], strict=True))


def drop_turns(
    conversation: Conversation, whole: list[Rendered], render: Render, max_length: int
) -> list[Rendered]:
    """Drop early turns until the conversation fits; if it still does not, truncate on the right.

    Leading system messages and the last turn are kept. A turn is a user message and the messages
    up to the next user message. If each answer is a separate row, each row is shortened separately.

    Args:
        conversation: The conversation of these rows.
        whole: Its rows at full length.
        render: Renders a shortened conversation.
        max_length: Maximum length of a row, in tokens.
    """
    if len(whole) > 1:
        answers = trained_answers(conversation)
        if len(answers) == len(whole):
            shortened: list[Rendered] = []
            for index, row in zip(answers, whole, strict=True):
                until = replace(conversation, messages=_only_trained(conversation.messages, index))
                shortened += (
                    [row]
                    if len(row.input_ids) <= max_length
                    else drop_turns(until, [row], lambda c: render(c)[-1:], max_length)
                )
            return shortened
    messages = conversation.messages
    lead = 0
    while lead < len(messages) and messages[lead].role == "system":
        lead += 1
    starts = [i for i in range(lead, len(messages)) if messages[i].role == "user"]
    full = max(len(row.input_ids) for row in whole)
    shortest, low, high = whole, 1, len(starts) - 1
    found: list[Rendered] | None = None
    while low <= high:  # binary search for the fewest dropped turns that fit
        middle = (low + high) // 2
        rows = render(replace(conversation, messages=messages[:lead] + messages[starts[middle] :]))
        if all(len(row.input_ids) <= max_length for row in rows):
            found, high = rows, middle - 1
        else:
            low = middle + 1
        if middle == len(starts) - 1:
            shortest = rows
    if found is not None and any(trains(row) for row in found):
        return [
            replace(row, cut=full - len(row.input_ids), notes=(*row.notes, TURNS_DROPPED))
            for row in found
        ]
    dropped = full - max(len(row.input_ids) for row in shortest)
    note = (TURNS_DROPPED,) if dropped else ()
    return [
        replace(row, cut=row.cut + dropped, notes=(*row.notes, *note))
        for row in (
            truncate_right(row, max_length) if len(row.input_ids) > max_length else row
            for row in shortest
        )
    ]


def trained_answers(conversation: Conversation) -> list[int]:
    """Indices of the assistant messages that may be trained."""
    return [
        i
        for i, message in enumerate(conversation.messages)
        if message.role == "assistant" and message.train is not False
    ]


def trains(row: Rendered) -> bool:
    """Whether the row has a trained token after its first token, which is never predicted."""
    return any(row.loss_mask[1:])


def _only_trained(messages: tuple[Message, ...], index: int) -> tuple[Message, ...]:
    return tuple(
        replace(message, train=i == index if message.role == "assistant" else message.train)
        for i, message in enumerate(messages[: index + 1])
    )


def _part(row: Rendered, part: slice, note: str) -> Rendered:
    ids, mask = row.input_ids[part], row.loss_mask[part]
    return replace(
        row,
        input_ids=ids,
        loss_mask=mask,
        cut=row.cut + len(row.input_ids) - len(ids),
        notes=(*row.notes, note),
    )
