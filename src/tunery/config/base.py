"""The base of every config class: frozen, strict about names, documented field by field."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


@dataclass(frozen=True)
class WholeText:
    """Marks a list of sentences: on the command line a comma there separates nothing."""


class Section(BaseModel):
    """A group of settings. Unknown names are errors; values never change after loading."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @model_validator(mode="wrap")
    @classmethod
    def _switches_are_no_numbers(cls, data: Any, handler: Any) -> Any:
        # pydantic reads true as 1 where a number is wanted; in a settings file that is a slip.
        wrong: list[InitErrorDetails] = []
        for name, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields:
                kinds = _kinds(cls.model_fields[name].annotation)
                if bool not in kinds and kinds & {int, float}:
                    error = PydanticCustomError("not_a_switch", "a number is expected")
                    wrong.append({"type": error, "loc": (name,), "input": value})
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return handler(data)


def _kinds(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (list, dict, tuple) or not get_args(annotation):
        return {annotation}
    return {kind for arg in get_args(annotation) if arg is not NoneType for kind in _kinds(arg)}
