"""References in a schema: refused where they lead nowhere or never end; other recursion works."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tunery.server.openai.schema_ends import unusable

HI = [{"role": "user", "content": "hello"}]
NODE = {"type": "object", "properties": {"next": {"$ref": "#"}}}


def tree(item: Any, **more: Any) -> dict[str, Any]:
    return {"$ref": "#/$defs/a", "$defs": {"a": item, **more}}


ENDLESS = [
    {"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"anyOf": [{"$ref": "#"}]},
    {"anyOf": [{"$ref": "#"}, {"$ref": "#/anyOf/0"}]}, NODE | {"required": ["next"]},
    tree({"$ref": "#/$defs/b"}, b={"$ref": "#/$defs/a"}),
    tree({"type": "object", "properties": {"b": {"$ref": "#/$defs/b"}}, "required": ["b"]},
         b={"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}),
    {"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1},
]  # fmt: skip
ENDING = [
    {}, NODE, {"anyOf": [{"$ref": "#"}, {"type": "string"}]},
    {"type": "array", "items": {"$ref": "#"}},
    {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
     "required": ["next"]},
    {"type": ["object", "null"], "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
    tree({"type": "string"}, unused={"$ref": "#/$defs/unused"}),
    {"type": "object", "properties": {"$ref": {"type": "string"}, "enum": {"type": "string"}}},
    {"enum": [{"$ref": "#/nowhere"}]}, {"const": {"$ref": 5}},
    {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "string"}}},
]  # fmt: skip


@pytest.mark.parametrize("schema", ENDLESS)
def test_a_schema_that_requires_itself_without_end_is_refused(schema):
    assert "requires itself without end" in unusable(schema)


@pytest.mark.parametrize("schema", ENDING)
def test_a_schema_that_some_finite_value_follows_passes(schema):
    assert unusable(schema) == ""


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ({"$ref": "#/$defs/x/0"}, "refers to #/$defs/x/0, which it does not contain"),
        ({"properties": {"a": {"$ref": "#/a~0"}}}, "refers to #/a~0"),
        ({"items": [{"$ref": 5}]}, "not text"), ({"$ref": "http://x/y"}, "external reference"),
        (tree({"$ref": "other.json"}), "external reference, other.json"),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_is_named(schema, part):
    assert part in unusable(schema)


def test_a_deep_chain_of_references_is_no_recursion_of_ours():
    links = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(1500)}
    assert unusable(tree({"$ref": "#/$defs/a0"}, **links, a1500={"type": "null"})) == ""


def test_the_api_refuses_it_with_the_field_to_change(client):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}
    with pytest.raises(openai.BadRequestError, match="without end") as told:
        client.chat.completions.create(model="stub", messages=HI, response_format=wanted)
    assert (told.value.code, told.value.param) == ("bad_schema", "response_format")
    tool = {"type": "function", "function": {"name": "f", "parameters": {"$ref": "#/none"}}}
    with pytest.raises(openai.BadRequestError, match="does not contain") as told:
        client.chat.completions.create(
            model="stub", messages=HI, tools=[tool], tool_choice="required"
        )
    assert (told.value.code, told.value.param) == ("bad_schema", "tools")
    with pytest.raises(openai.BadRequestError, match="without end") as told:
        client.responses.create(
            model="stub", input="x",
            text={"format": {"type": "json_schema", "name": "x", "schema": {"$ref": "#"}}},
        )  # fmt: skip
    assert told.value.param == "text.format"
