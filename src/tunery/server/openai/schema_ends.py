"""Check a JSON schema's references: that each leads somewhere, and that some value is finite.

``{"$ref": "#"}`` refers to nothing but itself, and an object whose required property is such an
object never ends. No answer can follow them, so they are refused before the engine is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from tunery.types import is_list, is_object

_ONE = ("not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def unusable(schema: Mapping[str, Any]) -> str:
    """Why no answer can follow a schema, a sentence; empty if nothing was found.

    Only references and recursion are checked; the engine reports everything else.

    Args:
        schema: The schema; its references are JSON pointers into it (RFC 6901).
    """
    nodes = list(_schemas(schema))
    for node in nodes:
        reference = node.get("$ref")
        if reference is None:
            continue
        if not isinstance(reference, str):
            return "The JSON schema has a $ref that is not text."
        if not reference.startswith("#"):
            return f"The JSON schema has an external reference, {reference[:80]}; these are not " \
                "fetched."  # fmt: skip
        if _is_pointer(reference) and not _found(schema, reference):
            return (
                f"The JSON schema refers to {reference[:80]}, which it does not contain. Define "
                "it, for example under $defs, or correct the reference."
            )
    if not _Ending(schema, nodes).ends(schema):
        return (
            "The JSON schema requires itself without end, so no answer can follow it. Make the "
            "property that refers back optional, or allow another type in its place (anyOf)."
        )
    return ""


class _Ending:
    """Which schemas some finite value follows: the least fixed point over their references."""

    def __init__(self, root: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> None:
        self._known: set[int] = set()
        self._targets = {id(node): _target(root, node) for node in nodes}
        users: dict[int, list[Mapping[str, Any]]] = {}
        for node in nodes:
            for used in self._needs(node):
                users.setdefault(id(used), []).append(node)
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            if id(node) not in self._known and self._is_finite(node):
                self._known.add(id(node))
                waiting += users.get(id(node), ())

    def ends(self, schema: Any) -> bool:
        """Whether some finite value follows a schema."""
        return not is_object(schema) or id(schema) in self._known

    def _needs(self, node: Mapping[str, Any]) -> Iterator[Any]:
        """The schemas on which a schema's own ending depends."""
        yield self._targets[id(node)]
        for key in ("allOf", "anyOf", "oneOf"):
            yield from _list(node.get(key))
        yield from _parts(node)

    def _is_finite(self, node: Mapping[str, Any]) -> bool:
        if not self.ends(self._targets[id(node)]) or not all(map(self.ends, _parts(node))):
            return False
        for choice in ("anyOf", "oneOf"):
            branches = _list(node.get(choice))
            if branches and not any(map(self.ends, branches)):
                return False
        return all(map(self.ends, _list(node.get("allOf"))))


def _target(root: Mapping[str, Any], node: Mapping[str, Any]) -> Any:
    """What a schema's reference leads to; None if it has none, or none that is a pointer."""
    reference = node.get("$ref")
    found = _found(root, reference) if isinstance(reference, str) else []
    return found[0] if found else None


def _parts(node: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas of the values that every value of a schema contains."""
    match node.get("type"):
        case "object":
            yield from _required(node)
        case "array":
            yield from _first_items(node)
        case _:
            return


def _required(node: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas of the properties that an object must have."""
    named = node.get("properties")
    properties = named if is_object(named) else {}
    for name in _list(node.get("required")):
        if isinstance(name, str) and name in properties:
            yield properties[name]


def _first_items(node: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas of the items that an array must have."""
    least = node.get("minItems")
    if not isinstance(least, int):
        return
    first = _list(node.get("prefixItems"))
    yield from first[:least]
    if least > len(first):
        yield node.get("items")


def _schemas(value: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and all schemas in it; values of enum, const and default are none."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if not is_object(node):
            continue
        yield node
        for key in _ONE:
            waiting.append(node.get(key))
        for key in (*_SEVERAL, "items"):
            waiting += _list(node.get(key))
        for key in _NAMED:
            inner = node.get(key)
            waiting += inner.values() if is_object(inner) else ()


def _is_pointer(reference: str) -> bool:
    return reference == "#" or reference.startswith("#/")


def _found(root: Mapping[str, Any], reference: str) -> list[Any]:
    """What a JSON pointer leads to, in a list; an empty list if it leads nowhere."""
    if not _is_pointer(reference):
        return []
    here: Any = root
    for step in unquote(reference[1:]).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if is_object(here) and key in here:
            here = here[key]
        elif is_list(here) and key.isdecimal() and int(key) < len(here):
            here = here[int(key)]
        else:
            return []
    return [here]


def _list(value: Any) -> list[Any]:
    return value if is_list(value) else []
