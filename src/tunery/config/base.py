"""The base classes of all config classes: frozen, strict about names, documented per field.

A ``Section`` is a group of settings. A ``Kind`` is one of several alternative sections, selected by
``type``: it has its settings and the light half of its behaviour (costs, rules, requirements), and
names its heavy half, which is imported only when it is built.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tunery.errors import ConfigError
from tunery.i18n import t

Finding = tuple[str, str, str]
"""A setting that contradicts another one: its path, what is wrong, what to do."""


@dataclass(frozen=True)
class WholeText:
    """Marks a list of sentences, in which a comma on the command line is not a separator."""


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
        # pydantic accepts true as 1 where a number is expected; in a settings file it is a mistake.
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


class Kind(Section):
    """One of several alternative sections, selected by ``type``.

    Kinds that can be combined are optional sections instead, one field each.

    Attributes:
        build: ``module:attribute`` of the heavy half; it is called with this section first.
        extra: The extra of the package that installs the libraries it needs; empty for none.
        packages: The libraries among these that can be checked before the run, by import name.
    """

    build: ClassVar[str]
    extra: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()

    def make(self, *args: Any, **objects: Any) -> Any:
        """Import the heavy half and build it from these settings.

        Raises:
            ConfigError: A library that it needs is not installed; the remedy installs it.
        """
        module, _, attribute = self.build.partition(":")
        try:
            build = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not self.extra or (error.name or "").startswith("tunery"):
                raise
            raise self._missing(error.name or "") from error
        return build(self, *args, **objects)

    def check_installed(self) -> None:
        """Check for the libraries it needs, without importing them.

        Raises:
            ConfigError: One is not installed; the remedy installs it.
        """
        for name in self.packages:
            if importlib.util.find_spec(name) is None:
                raise self._missing(name)

    def _missing(self, package: str) -> ConfigError:
        return ConfigError(
            t("{kind} needs the package {package}.", kind=tag(type(self)), package=package),
            fix=t("Install it: pip install 'tunery[{extra}]'", extra=self.extra),
        )

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Settings that this kind cannot be combined with; ``config`` is the whole ``Config``."""
        yield from ()

    def advises(self, config: Any) -> Iterator[str]:
        """Warnings about what is allowed with this kind but unwise; ``config`` is the whole one."""
        yield from ()


def tag(kind: type[BaseModel]) -> str:
    """The word that selects a kind: its ``type``, or its module's name if it has none."""
    found = kind.model_fields.get("type")
    return str(found.default) if found else kind.__module__.rpartition(".")[2]


def kinds(union: Any) -> tuple[type[Any], ...]:
    """The kinds of a tagged union, in order; the first is the default."""
    return get_args(get_args(union)[0])


def _kinds(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (list, dict, tuple) or not get_args(annotation):
        return {annotation}
    return {kind for arg in get_args(annotation) if arg is not NoneType for kind in _kinds(arg)}
