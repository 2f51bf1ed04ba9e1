"""Types of what a client names in a path, a query or a body; each goes through ``services.door``.

A field of a route that names a model, a dataset, a run or a place on the disk has one of these
types; ``tests/web/test_door.py`` fails for a text field that it does not know.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from tunery.services import door
from tunery.types import is_list


def _chat_settings(values: dict[str, Any]) -> dict[str, Any]:
    columns = values.get("columns")
    for name in columns if is_list(columns) else ():
        if isinstance(name, str):
            door.model(name)
    return values


def _data_settings(values: dict[str, Any]) -> dict[str, Any]:
    door.section("data", values)
    return values


ModelName = Annotated[str, Field(max_length=door.CHARACTERS), AfterValidator(door.model)]
"""Whatever ``models resolve`` takes."""

DatasetName = Annotated[str, Field(max_length=door.CHARACTERS), AfterValidator(door.dataset)]
"""Whatever ``data.train`` takes."""

RunName = Annotated[str, AfterValidator(door.run)]
"""The name of a run, never its folder."""

Place = Annotated[str, Field(max_length=door.CHARACTERS), AfterValidator(door.place)]
"""A file or a folder on this machine; empty where none is named."""

Behind = Annotated[int, Field(ge=0, le=2**40)]
"""A step, an event or a byte to go on behind: no file is as long as its bound."""

ChatSettings = Annotated[dict[str, Any], AfterValidator(_chat_settings)]
"""Settings of a chat; its columns are models."""

DataSettings = Annotated[dict[str, Any], AfterValidator(_data_settings)]
"""Settings of the section ``data``."""
