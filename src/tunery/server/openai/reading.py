"""Parse request bodies: JSON, its depth, unknown fields, and the errors for invalid values."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import ValidationError

from tunery.errors import did_you_mean
from tunery.server.openai import limits
from tunery.server.openai.errors import Refused, invalid
from tunery.server.openai.schemas import Body
from tunery.types import is_list, is_object

R = TypeVar("R", bound=Body)
_SHOWN = 80


def read(kind: type[R], body: bytes) -> R:
    """Read a request.

    Raises:
        Refused: It is not JSON, too deep, or has an invalid value; the first error is reported.
    """
    values = _object(body)
    given = {key: value for key, value in values.items() if value is not None}
    _check_lists(given)
    request = checked(kind, given)
    _check_unknown(request, set(kind.model_fields))
    return request


def checked(kind: type[R], values: dict[str, Any]) -> R:
    """Make a request from values that came from JSON.

    Raises:
        Refused: A value is not valid.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _explained(error) from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise invalid(None, "The body is not JSON (UTF-8).", code="invalid_json") from None
    if not is_object(values):
        raise invalid(None, "The body must be a JSON object.", code="invalid_json")
    if len(values) > limits.MAX_FIELDS:
        raise invalid(None, f"The body has {len(values)} fields.", code="invalid_json")
    if _is_deeper(values, limits.MAX_DEPTH):
        raise invalid(
            None,
            f"The body is nested more than {limits.MAX_DEPTH} levels deep.",
            code="invalid_json",
        )
    if _has_half_letters(values):
        raise invalid(
            None, "A text contains half of a character (a lone surrogate).", code="invalid_json"
        )
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _has_half_letters(values: dict[str, Any]) -> bool:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _check_lists(values: dict[str, Any]) -> None:
    """Reject long lists by their length, before their items are validated."""
    for key, most in (
        ("messages", limits.MAX_MESSAGES),
        ("input", limits.MAX_MESSAGES),
        ("tools", limits.MAX_TOOLS),
    ):
        if is_list(found := values.get(key)) and len(found) > most and type(found[0]) is not int:
            raise invalid(key, f"{key}: {len(found)} items; at most {most} are allowed.")


def _check_unknown(request: Body, known: set[str]) -> None:
    for key in request.model_extra or {}:
        if key in request.ignored:
            continue
        if key in request.refused:
            raise invalid(
                key, f"{key}: not supported; {request.refused[key]}.", code="unsupported_parameter"
            )
        near = did_you_mean(key[:_SHOWN], known)
        raise invalid(
            key[:_SHOWN],
            f"{key[:_SHOWN]}: no such field. {near}".rstrip(),
            code="unknown_parameter",
        )


def _explained(error: ValidationError) -> Refused:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = _place(first["loc"])
    text = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    text = text[:1].lower() + text[1:]
    more = error.error_count() - 1
    also = f" ({more} more error{'s' if more > 1 else ''})" if more else ""
    message = f"{place}: {text}.{also}" if place else f"{text}.{also}"
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return invalid(place or None, message, code=code)


def _place(loc: tuple[int | str, ...]) -> str:
    text = ""
    for step in loc:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.isidentifier() and step[0].islower():  # not the name of one of our classes
            text += f".{step}" if text else step
    return text[:_SHOWN]
