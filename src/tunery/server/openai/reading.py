"""Parse request bodies: JSON, its depth, and the errors for invalid values."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import ValidationError

from tunery.server.faults import faults
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
    _check_lists(values)
    return checked(kind, values)


def checked(kind: type[R], values: dict[str, Any]) -> R:
    """Make a request from values that came from JSON.

    Raises:
        Refused: A value is not valid.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _explained(error, kind, values) from None


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


def _check_lists(values: dict[str, Any]) -> None:
    """Reject long lists by their length, before their items are validated."""
    for key, most in (
        ("messages", limits.MAX_MESSAGES),
        ("input", limits.MAX_MESSAGES),
        ("tools", limits.MAX_TOOLS),
    ):
        if is_list(found := values.get(key)) and len(found) > most and type(found[0]) is not int:
            raise invalid(key, f"{key} has {len(found)} items; at most {most} are accepted.")


def _explained(error: ValidationError, kind: type[Body], values: dict[str, Any]) -> Refused:
    found = faults(error.errors(include_url=False), kind, values)
    first, more = found[0], len(found) - 1
    also = f" ({more} more error{'s' if more > 1 else ''})" if more else ""
    code = _CODES.get(first.kind, "invalid_value")
    return invalid(first.place[:_SHOWN] or None, f"{first.sentence}{also}", code=code)


_CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "unsupported": "unsupported_parameter",
}
