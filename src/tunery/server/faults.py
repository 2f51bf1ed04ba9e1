"""Sentences for values that a request model rejects, for the REST API and for ``/v1``.

pydantic describes an error by a type and a location. Here each type has a sentence of its own
that names the field, what is expected and what was found; pydantic's words reach no client.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from tunery.errors import did_you_mean
from tunery.i18n import either, joined, t
from tunery.types import is_list, is_object

Model = type[BaseModel]
_SHOWN = 80
_PLACE_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Fault:
    """One rejected value.

    Args:
        place: The field, such as ``messages[0].role``; empty for the whole body.
        sentence: What is wrong with it.
        kind: pydantic's type of the error, or ``unsupported`` for a field that has a replacement.
    """

    place: str
    sentence: str
    kind: str


def faults(errors: Sequence[Mapping[str, Any]], model: Model | None, body: Any) -> list[Fault]:
    """Describe the errors of one request; unknown fields first, as others may follow from them.

    Args:
        errors: What pydantic found, as ``ValidationError.errors()`` returns it.
        model: The model of the body, to suggest a field for an unknown one.
        body: The rejected body.
    """
    located = [_Located.of(error, model, body) for error in errors]
    found = [_fault(each) for each in _one_per_union(located)]
    return sorted(found, key=lambda fault: fault.kind not in ("extra_forbidden", "unsupported"))


def nested_models(annotation: Any) -> Iterator[Model]:
    """The models in an annotation, such as those of ``list[Message] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from nested_models(get_args(annotation)[0])
    else:
        for each in get_args(annotation):
            yield from nested_models(each)


def field_names(model: Model) -> dict[str, Any]:
    """The fields of a model as clients write them, with their annotations."""
    return {each.alias or name: each.annotation for name, each in model.model_fields.items()}


def no_such_field(place: str, name: str, known: Iterable[str]) -> str:
    """Say that there is no such field, with the nearest one.

    Args:
        place: Where it was sent, such as ``messages[0].contnt``.
        name: Its name.
        known: The fields that exist there.
    """
    near = did_you_mean(name[:_SHOWN], sorted(known))
    return joined(t("{field}: no such field.", field=place), near)


@dataclass(frozen=True, slots=True)
class _Located:
    """An error with its place in the body; steps into the branch of a union are no part of it.

    Args:
        error: pydantic's description.
        steps: Keys and indices.
        models: The models at the end of them, or of the object that holds an unknown field.
        union: Number of steps before the first branch of a union; None if there is none.
        branch: The name of that branch.
    """

    error: Mapping[str, Any]
    steps: tuple[int | str, ...]
    models: tuple[Model, ...] = ()
    union: int | None = None
    branch: str = ""

    @classmethod
    def of(cls, error: Mapping[str, Any], model: Model | None, body: Any) -> _Located:
        """Follow the location of an error through the models and the body."""
        models = (model,) if model else ()
        steps: list[int | str] = []
        union, branch, here = None, "", body
        loc = tuple(error["loc"])
        for number, step in enumerate(loc):
            is_last = number == len(loc) - 1
            chosen = tuple(each for each in models if each.__name__ == step)
            known = [each for each in models if step in field_names(each)]
            if chosen or not (
                known
                or isinstance(step, int)
                or (is_object(here) and step in here)
                or (is_last and error["type"] == "missing")
            ):
                models = chosen or models
                if union is None:
                    union, branch = len(steps), str(step)
                continue
            steps.append(step)
            if not (is_last and error["type"] == "extra_forbidden"):
                inner = [i for each in known for i in nested_models(field_names(each)[str(step)])]
                models = models if isinstance(step, int) else tuple(inner)
            here = _inner(here, step)
        return cls(error, tuple(steps), models, union, branch)

    @property
    def place(self) -> str:
        """The field as clients write it."""
        text = ""
        for step in self.steps:
            shown = str(step)[:_SHOWN]
            text += f"[{shown}]" if isinstance(step, int) else f".{shown}" if text else shown
        return text[:_PLACE_SHOWN]


def _inner(value: Any, step: int | str) -> Any:
    if is_object(value):
        return value.get(str(step))
    return value[step] if is_list(value) and isinstance(step, int) and step < len(value) else None


@dataclass(slots=True)
class _Union:
    """The errors of every branch of one union."""

    branches: dict[str, list[_Located]] = field(default_factory=dict[str, list[_Located]])

    def best(self) -> _Located:
        """The first error of the branch that was most likely meant: the deepest, fewest errors."""

        def closeness(branch: list[_Located]) -> tuple[int, int]:
            return (-max(len(each.steps) for each in branch), len(branch))

        first = min(self.branches.values(), key=closeness)[0]
        rivals = [
            each.error
            for branch in self.branches.values()
            for each in branch
            if each.steps == first.steps
        ]
        return _Located({**first.error, "rivals": rivals}, first.steps, first.models)


def _one_per_union(located: Iterable[_Located]) -> list[_Located]:
    found: list[_Located] = []
    unions: dict[tuple[int | str, ...], _Union] = {}
    places: dict[int, _Union] = {}
    for each in located:
        if each.union is None:
            found.append(each)
            continue
        key = each.steps[: each.union]
        if key not in unions:
            unions[key] = places[len(found)] = _Union()
            found.append(each)
        unions[key].branches.setdefault(each.branch, []).append(each)
    return [places[n].best() if n in places else each for n, each in enumerate(found)]


def _fault(located: _Located) -> Fault:
    error, place = located.error, located.place
    kind, context = str(error["type"]), _context(error)
    name = place or t("The body")
    if kind == "extra_forbidden":
        return _unknown_field(located)
    if kind == "value_error":
        text = str(context.get("error") or error["msg"].removeprefix("Value error, "))
        ours = text[:1].upper() + text[1:] if not place else f"{place} {text}"
        # a check of several fields names them itself; one of a single field continues its name
        whole = not located.steps or bool(located.models)
        return Fault(place, f"{text if whole else ours}.", kind)
    return Fault(place, _sentence(kind, name, context, error), kind)


def _context(error: Mapping[str, Any]) -> Mapping[str, Any]:
    return error.get("ctx") or dict[str, Any]()


def _unknown_field(located: _Located) -> Fault:
    place, name = located.place, str(located.steps[-1])
    for model in located.models:
        if instead := getattr(model, "refused", {}).get(name):
            return Fault(
                place,
                t("{field}: not supported; {instead}.", field=place, instead=instead),
                "unsupported",
            )
    known = {each for model in located.models for each in field_names(model)}
    for model in located.models:
        known |= getattr(model, "ignored", frozenset[str]())
    return Fault(place, no_such_field(place, name, known), "extra_forbidden")


def _sentence(kind: str, name: str, context: Mapping[str, Any], error: Mapping[str, Any]) -> str:
    match kind:
        case "missing":
            return t("{field} is required.", field=name)
        case "json_invalid":
            return t("The body is not valid JSON.")
        case "too_short" if not error.get("input"):
            if name == "messages":
                return t("{field} is empty; send at least one message.", field=name)
            return t("{field} is empty; send at least one item.", field=name)
        case "too_short":
            least = context.get("min_length")
            return t("{field} must have at least {least} items.", field=name, least=least)
        case "too_long":
            most = context.get("max_length")
            return t("{field} has too many items; at most {most} are accepted.",
                     field=name, most=most)  # fmt: skip
        case "string_too_short" if not error.get("input"):
            return t("{field} is empty.", field=name)
        case "string_too_short":
            least = context.get("min_length")
            return t("{field} must have at least {least} characters.", field=name, least=least)
        case "string_too_long":
            most = context.get("max_length")
            return t("{field} is too long; at most {most} characters are accepted.",
                     field=name, most=most)  # fmt: skip
        case "string_pattern_mismatch":
            pattern = context.get("pattern")
            return t("{field} must match the pattern {pattern}.", field=name, pattern=pattern)
        case _:
            expected = _expected(error)
    if not expected:
        return t("{field} has a value that is not accepted here.", field=name)
    found = _found(error.get("input"), echo=kind == "literal_error")
    is_number = kind.endswith(("_parsing", "_parsing_size", "_than", "_equal"))
    if is_number and isinstance(error.get("input"), str):  # of a query: never repeated
        return t("{field} must be {expected}.", field=name, expected=expected)
    return t("{field} must be {expected}, got {found}.",
             field=name, expected=expected, found=found)  # fmt: skip


def _expected(error: Mapping[str, Any]) -> str:
    """What a field must be; if the branches of a union differ, any of them."""
    words: list[str] = []
    for each in error.get("rivals") or (error,):
        context = _context(each)
        new = _literals(context) if each["type"] == "literal_error" else [_noun(each, context)]
        words += [word for word in new if word and word not in words]
    return either(words)


def _literals(context: Mapping[str, Any]) -> list[str]:
    """The choices in pydantic's ``'a', 'b' or 'c'``, in JSON's quotes."""
    text = str(context.get("expected", "")).replace(" or ", ", ")
    return [each.replace("'", '"') for each in text.split(", ") if each]


def _noun(error: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    match error["type"]:
        case "string_type":
            return t("a string")
        case "int_type" | "int_parsing" | "int_parsing_size" | "int_from_float":
            return t("a whole number")
        case "float_type" | "float_parsing":
            return t("a number")
        case "finite_number":
            return t("a finite number")
        case "bool_type" | "bool_parsing":
            return t("true or false")
        case "list_type":
            return t("a list")
        case "dict_type" | "model_type" | "model_attributes_type":
            return t("an object")
        case "greater_than":
            return t("more than {bound}", bound=_number(context["gt"]))
        case "greater_than_equal":
            return t("at least {bound}", bound=_number(context["ge"]))
        case "less_than":
            return t("less than {bound}", bound=_number(context["lt"]))
        case "less_than_equal":
            return t("at most {bound}", bound=_number(context["le"]))
        case _:
            return ""


def _number(bound: float) -> str:
    return json.dumps(int(bound) if float(bound).is_integer() else bound)


def _found(value: Any, *, echo: bool) -> str:
    """What was sent; the text of a string is repeated only where a few words are the choices."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float() if len(json.dumps(value)) <= 24:
            return json.dumps(value)
        case int() | float():
            return t("a number")
        case str() if echo and len(value) <= 40:
            return json.dumps(value, ensure_ascii=False)
        case str():
            return t("a string")
        case _ if is_list(value):
            return t("a list")
        case _ if is_object(value):
            return t("an object")
        case _:
            return t("something else")
