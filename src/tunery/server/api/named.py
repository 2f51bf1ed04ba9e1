"""Types for names from clients in a path, query or body; each is checked by ``services.access``.

A route field that names a model, a dataset, a run or a place on disk has one of these types;
``tests/web/test_access.py`` fails for a text field that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.services import access
from tunery.types import is_list


def _chat_settings(values: dict[str, Any]) -> dict[str, Any]:
    columns = values.get("columns")
    for name in columns if is_list(columns) else ():
        if isinstance(name, str):
            access.model(name)
    return values


def _data_settings(values: dict[str, Any]) -> dict[str, Any]:
    access.section("data", values)
    return values


ModelName = Annotated[str, Field(max_length=access.CHARACTERS), AfterValidator(access.model)]
"""Any name that ``models resolve`` accepts."""

DatasetName = Annotated[str, Field(max_length=access.CHARACTERS), AfterValidator(access.dataset)]
"""Any name that ``data.train`` accepts."""

RunName = Annotated[str, AfterValidator(access.run)]
"""The name of a run, never its folder."""

Place = Annotated[str, Field(max_length=access.CHARACTERS), AfterValidator(access.place)]
"""A file or folder on this machine; empty if none is given."""

Behind = Annotated[int, Field(ge=0, le=2**40)]
"""A step, event number or byte offset to continue after; no file reaches its bound."""

ChatSettings = Annotated[dict[str, Any], AfterValidator(_chat_settings)]
"""Settings of a chat; its columns are model names."""

DataSettings = Annotated[dict[str, Any], AfterValidator(_data_settings)]
"""Settings of the section ``data``."""


def check_choice(field: str, value: str, known: Iterable[str]) -> None:
    """Check a query parameter whose values are only known at run time; empty is none.

    Raises:
        ConfigError: The value is not one of them.
    """
    if value and value not in (names := list(known)):
        raise ConfigError(
            t("{field} must be one of: {names}.", field=field, names=", ".join(names)),
            code="bad_query",
        )
