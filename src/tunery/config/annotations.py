"""What a setting's Python type accepts: its alternatives, also in words."""

from __future__ import annotations

from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tunery.i18n import either, t


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """List the alternatives of a type without None: ``int | None`` -> ``(int,)``."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return tuple(a for arg in get_args(annotation) for a in alternatives(arg))
    return () if annotation is NoneType else (annotation,)


def optional(annotation: Any) -> bool:
    """Whether null is accepted."""
    return NoneType in get_args(annotation)


def type_words(annotation: Any) -> str:
    """Describe in words what a type accepts, in the current language."""
    words = [_words(each) for each in alternatives(annotation)]
    if optional(annotation):
        words.append("null")
    return either(words)


def item_words(annotation: Any) -> str:
    """Describe in words what one item of a list or dictionary accepts."""
    found = choices(annotation)
    return t("one of {choices}", choices=", ".join(found)) if found else type_words(annotation)


def choices(annotation: Any) -> tuple[str, ...]:
    """The words that a type accepts, if it is a fixed list."""
    return tuple(
        str(arg)
        for each in alternatives(annotation)
        if get_origin(each) is Literal
        for arg in get_args(each)
    )


def bounds(info: FieldInfo) -> str:
    """The limits of a field as symbols, such as ``>= 1, <= 4096``."""
    found = list(info.metadata)
    for arg in get_args(info.annotation):
        found += getattr(arg, "__metadata__", ())
    limits: list[str] = []
    for mark in found:
        for part in getattr(mark, "metadata", None) or [mark]:
            for symbol, name in ((">=", "ge"), (">", "gt"), ("<=", "le"), ("<", "lt")):
                limit = getattr(part, name, None)
                if isinstance(limit, int | float):
                    limits.append(
                        f"{symbol} {limit:g}" if isinstance(limit, float) else f"{symbol} {limit}"
                    )
    return ", ".join(dict.fromkeys(limits))


def _words(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(str(arg) for arg in args)
    if origin is list:
        return t("a list of {kind}", kind=_words(args[0]))
    if origin is dict:
        return t("names with {kind}", kind=_words(args[1]))
    if origin is tuple:
        return t("a list of {count} numbers", count=len(args))
    match kind:
        case _ if kind is bool:
            return t("true or false")
        case _ if kind is int:
            return t("a whole number")
        case _ if kind is float:
            return t("a number")
        case _ if kind is Path:
            return t("a path")
        case _:
            return t("text")
