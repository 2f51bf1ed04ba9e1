"""Extra columns that change the meaning of a row: the format reads them or the row is rejected."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tunery.data.formats.base import Format, Row, RowOptions
from tunery.data.formats.written import read_written
from tunery.data.groups import WEIGHT
from tunery.data.numbers import finite
from tunery.data.problems import RowProblem, say, show
from tunery.types import MOST_WEIGHT, Conversation, Example, is_list, is_object

MEDIA = ("images", "image", "videos", "video", "audios", "audio")
LABELS = ("label", "kto_tag")
MASKS = ("loss_mask", "mask", "train_mask", "assistant_masks")
KWARGS = "chat_template_kwargs"
CHECKED = frozenset({*MEDIA, *LABELS, *MASKS, KWARGS, WEIGHT})
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
MARK = re.compile(r"<(?:image|video|audio)>")


def convert(format: Format, row: Row, options: RowOptions) -> Example:
    """Convert a row to an example, after checking columns that the format does not read.

    Raises:
        RowProblem: The format rejects the row, or such a column does: E600 media, E422 an answer
            labeled bad that would be trained as a good one, E420 a mask over parts of the row, E421
            template variables.
    """
    if not CHECKED.isdisjoint(row):
        _check_others(row, format, options)
    return with_weight(format.convert(read_written(row, options), options, None),
                       format, row, options)  # fmt: skip


def with_weight(example: Example, format: Format, row: Row, options: RowOptions) -> Example:
    """The example with the weight of its row, if its format reads one.

    Raises:
        RowProblem: E304, the weight is not a number from 0 to a million.
    """
    if WEIGHT not in format.known or not isinstance(example, Conversation):
        return example
    weight = row.get(column := options.column(WEIGHT))
    if weight is None or (isinstance(weight, str) and not weight.strip()):  # an empty cell
        return example
    return replace(example, weight=_weight(weight, column))


def _weight(value: Any, column: str) -> float:
    """The factor on the loss of a row.

    Raises:
        RowProblem: E304, not a number from 0 to a million.
    """
    number = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = finite(value)
    elif isinstance(value, str) and NUMBER.fullmatch(value.strip()):  # a cell of a csv file
        number = finite(float(value))
    if number is None or not 0 <= number <= MOST_WEIGHT:
        raise RowProblem(
            "E304",
            column,
            say("field {field}: expected a weight from 0 to {most:,}, found {what}", field=column,
                most=MOST_WEIGHT, what=show(value)),
            say("Write a number such as 0.5 or 2, or leave it out; if the column means something "
                "else, rename it."),
        )  # fmt: skip
    return number


def _check_others(row: Row, format: Format, options: RowOptions) -> None:
    read = {options.column(name) for name in format.known}
    for name in CHECKED & row.keys():
        value: Any = row[name]
        if name == WEIGHT or name in read or not _has_content(value):
            continue
        if name in MEDIA and (not options.only_named or _has_mark(row)):
            raise _media(name, value)
        if name in MASKS and not options.only_named and is_list(value) and not all(value):
            raise RowProblem(
                "E420",
                name,
                say("field {field}: a mask of a whole row cannot be read", field=name),
                say("Give each message that must not be learned train: false instead."),
            )
        if name == KWARGS and not options.only_named:
            raise RowProblem(
                "E421",
                name,
                say("field {field}: template variables cannot be set per row", field=name),
                say("Remove it. What happens to <think> text is set by data.thinking."),
            )
    if format.makes is Conversation:
        for name in LABELS:
            if name in row and name not in read and _is_bad(name, row[name]):
                raise RowProblem(
                    "E422",
                    name,
                    say(
                        "{field} is false: this answer would be trained on as a good one",
                        field=name,
                    ),
                    say(
                        "Remove the row; or learn from both labels with --data.format "
                        "unpaired and --method.type kto. If the column means something "
                        "else, rename it."
                    ),
                )


def _has_content(value: Any) -> bool:
    """Whether a cell has any content; a list or an object of only nulls does not."""
    if is_list(value):
        return any(_has_content(item) for item in value)
    if is_object(value):
        return any(item is not None for item in value.values())
    return value is not None and value != ""


def _is_bad(name: str, value: Any) -> bool:
    if name == "kto_tag" and isinstance(value, int | float):
        return not value
    return value is False or (isinstance(value, str) and value.strip().lower() == "false")


def _has_mark(value: Any) -> bool:
    """Whether any text in a value contains a media mark such as ``<image>``."""
    if isinstance(value, str):
        return MARK.search(value) is not None
    if is_list(value):
        return any(_has_mark(item) for item in value)
    return is_object(value) and any(_has_mark(item) for item in value.values())


def _media(name: str, value: Any) -> RowProblem:
    count = len(value) if is_list(value) else 1
    return RowProblem(
        "E600",
        name,
        say(
            "the row has {column} ({count}); only text can be trained on", column=name, count=count
        ),
        say(
            "Choose a text dataset. If the text makes sense on its own, name the columns "
            "to read (--data.columns) and remove marks such as <image>."
        ),
    )
