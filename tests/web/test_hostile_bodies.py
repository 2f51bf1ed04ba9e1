"""Every field of every body with values that fit no question: a 4xx or an answer, never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.web.routes_of import filled
from tests.web.test_runs_api import write_run

VALUES = ['"\\ud800"', '"a\\udc00"', '"\\u0000"', "1e400", "-1", str(10**30), '""', "[]", "NaN",
          '[""]', '{"": 1}', '"../x"', "null"]  # fmt: skip
MARK = "MARK-2f7c"
HALF = '"\\ud800"'


def example(spec: dict[str, Any], schema: dict[str, Any]) -> Any:
    """A value that fits a schema and names nothing that exists."""
    while "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return schema["enum"][0]
    if choices := schema.get("anyOf"):
        return example(spec, choices[0])
    match schema.get("type"):
        case "object":
            named = schema.get("properties", {})
            return {key: example(spec, inner) for key, inner in named.items()} or {"x": "x"}
        case "array":
            return [example(spec, schema.get("items", {}))]
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return False
        case _:
            return "x"


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value can be exchanged."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value) if is_list(value) else 0):
        yield from places(value[key], (*at, key))


def is_list(value: Any) -> bool:
    return isinstance(value, list)


def with_mark(value: Any, at: tuple[Any, ...]) -> Any:
    if not at:
        return MARK
    changed = value.copy()
    changed[at[0]] = with_mark(value[at[0]], at[1:])
    return changed


def bodies(app) -> Iterator[tuple[str, str, Any, tuple[Any, ...]]]:
    spec = app.openapi()
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if schema := content.get("application/json", {}).get("schema"):
                good = example(spec, schema)
                for at in places(good):
                    yield method.upper(), filled(path), good, at
                    if at and isinstance(good, dict) and len(good) > 1:  # and the field alone
                        yield method.upper(), filled(path), {at[0]: good[at[0]]}, at


def test_no_value_of_a_body_breaks_a_write(app, quiet):
    write_run("x")
    quiet.put("/api/v1/drafts/x", json={"fields": {"model.name": "x"}})
    asked, wrong = 0, []
    for method, path, good, at in bodies(app):
        for value in VALUES:
            body = json.dumps(with_mark(good, at)).replace(json.dumps(MARK), value)
            answer = quiet.request(
                method, path, content=body, headers={"Content-Type": "application/json"}
            )
            asked += 1
            if answer.status_code >= 500:
                wrong.append((method, path, at, value, answer.status_code, answer.text[:300]))
            if value in (HALF, "1e400", "NaN") and (
                answer.status_code != 400 or answer.json()["code"] != "invalid_json"
            ):
                wrong.append((method, path, at, value, answer.status_code, answer.text[:300]))
    assert asked > 1500
    assert wrong == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"value": "\\ud800"}', 400), (b'{"value": "\xed\xa0\x80"}', 400),
        (b'{"\\ud800": 1}', 400), (b'{"value": ["\\udfff\\ud800"]}', 400),
        ('{"value": "x"}'.encode("utf-16"), 400), ('{"value": "x"}'.encode("utf-16-le"), 400),
        ('{"value": "\\ud800"}'.encode("utf-32-be"), 400), (b'{"value": "\xff"}', 400),
        (b'{"value": 1e400}', 400), (b'{"value": -Infinity}', 400), (b'{"value": NaN}', 400),
        (b'{"value": 1' + b"0" * 400 + b"}", 400), (b'{"value": 1' + b"0" * 400 + b".0}", 400),
        (b'{"value": 1, "value": 2}', 400), (b'{"value": [{"a": 1, "a": 1}]}', 400),
        (b'{"value": 1, "\\u0076alue": 2}', 400), (b'{"value": [{"a": 1}, {"a": 1}]}', 200),
        (b'{"value": "\\ud83d\\udc1f"}', 200), (b'{"value": "\\\\ud800"}', 200),
        (b'{"value": "NaN 1e400"}', 200), (b'\xef\xbb\xbf{"value": 1e30}', 200),
        ('{"value": "🐟"}'.encode(), 200),
    ],
)  # fmt: skip
def test_text_of_a_body_is_unicode_and_its_numbers_are_finite(client, body, status):
    answer = client.put(
        "/api/v1/prefs/x", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status, answer.text
    if status == 400:
        assert answer.json()["code"] == "invalid_json"
        assert answer.json()["detail"].startswith("The body ")


def test_a_key_that_comes_twice_is_named_everywhere(client):
    body = b'{"fields": {}, "model.name": 1, "x": {"epochs": 1, "epochs": 2}}'
    for method, path in (("PUT", "/api/v1/drafts/x"), ("POST", "/v1/chat/completions")):
        answer = client.request(
            method, path, content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400
        assert 'has the key "epochs" twice' in answer.text.replace("\\", "")
