"""E719: no rows are left to train on, with advice for the reasons for which rows were left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunery.chat.remarks import DROPPED, NO_ROOM, NO_TRAINED_TOKEN, WEIGHS_NOTHING, in_words
from tunery.data.groups import WEIGHT
from tunery.data.kinds import RowKind, row_kind
from tunery.data.problems import Phrase, say
from tunery.errors import DataError
from tunery.i18n import joined, t
from tunery.types import Example


def nothing_left(
    filtered: Mapping[str, int],
    total: int,
    examples: Sequence[Example],
    columns: Mapping[str, str],
) -> DataError:
    """Make E719.

    Args:
        filtered: Number of rows left out, by reason.
        total: Number of rows read.
        examples: The rows.
        columns: Our field name -> column in the data.
    """
    kind = row_kind(examples[0]) if examples else None
    counted = (
        t("{count} rows: {reason}", count=count, reason=in_words(reason))
        for reason, count in filtered.items()
    )
    return DataError(
        t(
            "No rows are left to train on, of {total} rows read. {reasons}.",
            total=total,
            reasons=joined(*counted, between="; "),
        ),
        fix=joined(way_out(filtered, kind, columns)),
        code="E719",
    )


def way_out(
    reasons: Mapping[str, int], kind: RowKind[Any] | None, columns: Mapping[str, str]
) -> Phrase:
    """What to do about rows that were left out; names only settings that can change it.

    Args:
        reasons: Number of rows left out, by reason.
        kind: The kind of the rows, if known.
        columns: Our field name -> column in the data.
    """
    ways = list(_ways({reason for reason, count in reasons.items() if count}, kind, columns))
    if len(ways) == 1:
        return ways[0]
    return joined(*ways).phrase if ways else say("Use other data.")


def _ways(
    reasons: set[str], kind: RowKind[Any] | None, columns: Mapping[str, str]
) -> Iterator[Phrase]:
    if WEIGHS_NOTHING in reasons:
        yield say(
            "Write a weight above 0 in the column {column} of the rows that the model should "
            "learn, or remove the column.",
            column=columns.get(WEIGHT, WEIGHT),
        )
    if NO_TRAINED_TOKEN in reasons and kind is not None:
        if kind.name == "text":
            yield say("Use rows with text.")
        elif kind.loss_on is None:
            yield say(
                "Change data.loss_on, or remove the marks (train, weight, loss) of the messages "
                "that the model should learn."
            )
        else:
            yield say(
                "Remove the marks (train, weight, loss) of the answers that the model should learn."
            )
    if reasons & {DROPPED, NO_ROOM}:
        yield say("Set data.max_length higher, or choose another data.too_long.")
