"""Extra columns that change what a row means: each is read, or the row is rejected."""

from __future__ import annotations

import re
from typing import Any

from tunery.data.formats.base import Format, Row, RowOptions
from tunery.data.formats.written import read_written
from tunery.data.problems import RowProblem, say
from tunery.types import Conversation, Example, is_list, is_object

MEDIA = ("images", "image", "videos", "video", "audios", "audio")
JUDGED = ("label", "kto_tag")
KWARGS = "chat_template_kwargs"
TELLING = frozenset({*MEDIA, *JUDGED, KWARGS})
MARK = re.compile(r"<(?:image|video|audio)>")


def convert(format: Format, row: Row, options: RowOptions) -> Example:
    """Make an example of a row, unless a column that the format does not read forbids it.

    Raises:
        RowProblem: The format's; and E600 pictures or sound, E422 an answer marked bad that would
            be trained as good, E421 variables of a template.
    """
    if not TELLING.isdisjoint(row):
        _refuse(row, format, options)
    return format.convert(read_written(row, options), options, None)


def _refuse(row: Row, format: Format, options: RowOptions) -> None:
    read = {options.column(name) for name in format.known}
    for name in TELLING & row.keys():
        value: Any = row[name]
        if name in read or not _says(value):
            continue
        if name in MEDIA and (not options.only_named or _marked(row)):
            raise _media(name, value)
        if name == KWARGS and not options.only_named:
            raise RowProblem(
                "E421",
                name,
                say("field {field}: template variables cannot be set per row", field=name),
                say("Remove it. What happens to <think> text is set by data.thinking."),
            )
    if format.makes is Conversation:
        for name in JUDGED:
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


def _says(value: Any) -> bool:
    """Whether a cell has any content; a list or an object of only nulls does not."""
    if is_list(value):
        return any(_says(item) for item in value)
    if is_object(value):
        return any(item is not None for item in value.values())
    return value is not None and value != ""


def _is_bad(name: str, value: Any) -> bool:
    if name == "kto_tag" and isinstance(value, int | float):
        return not value
    return value is False or (isinstance(value, str) and value.strip().lower() == "false")


def _marked(value: Any) -> bool:
    """Whether a text contains an image placeholder."""
    if isinstance(value, str):
        return MARK.search(value) is not None
    if is_list(value):
        return any(_marked(item) for item in value)
    return is_object(value) and any(_marked(item) for item in value.values())


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
