"""Every field of every body under /v1 with values that fit no question: a 4xx or an answer.

``tests/web/test_hostile_bodies.py`` does the same for /api/v1, whose bodies the schema describes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
SAMPLING: dict[str, Any] = {"n": 1, "stop": ["x"], "seed": 1, "temperature": 1, "top_p": 1,
            "top_k": 1, "min_p": 0, "presence_penalty": 0, "logit_bias": {"1": 1},
            "max_tokens": 2, "stream": False}  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "stub", "response_format": FORMAT, "chat_template_kwargs": {"a": 1},
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]},
                     {"role": "assistant", "tool_calls": [
                         {"id": "1", "type": "function",
                          "function": {"name": "f", "arguments": "{}"}}]},
                     {"role": "tool", "tool_call_id": "1", "content": "x"}], **SAMPLING},
    "/v1/completions": {"model": "stub", "prompt": ["a", [1]], "echo": True, **SAMPLING},
    "/v1/embeddings": {"model": "stub", "input": ["a", [1]], "dimensions": 5},
    "/v1/responses": {"model": "stub", "input": [{"role": "user", "content": "x"}],
                      "instructions": "x", "text": {"format": {"type": "text"}},
                      "tools": [{"type": "function", "name": "f", "parameters": {}}]},
    "/v1/messages": {"model": "stub", "max_tokens": 2, "system": "x", "stop_sequences": ["x"],
                     "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
    "/v1/messages/count_tokens": {"model": "stub",
                                  "messages": [{"role": "user", "content": "x"}]},
}  # fmt: skip
DEEP = "[" * 1000 + "]" * 1000
VALUES = ['"\\ud800"', '"\\u0000"', "1e400", "NaN", "-Infinity", "-1", "9" * 5000, "1e308",
          str(10**30), '""', "[]", "{}", "null", "true", "[[]]", DEEP, '{"": 1}', '{"$ref": "#"}',
          '{"type": "x"}', '"../x"']  # fmt: skip
MARK = "MARK-2f7c"


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield from places(value[key], (*at, key))


def marked(value: Any, at: tuple[Any, ...]) -> Any:
    if not at:
        return MARK
    changed = value.copy()
    changed[at[0]] = marked(value[at[0]], at[1:])
    return changed


def test_every_body_of_v1_is_here(running):
    found = {
        str(each.path)
        for each in iter_route_contexts(running.app.routes)
        if "POST" in (each.methods or ()) and str(each.path).startswith("/v1/")
    }
    assert {path for path in found if "{" not in path} == set(GOOD)


@pytest.mark.parametrize("path", GOOD)
def test_no_value_breaks_an_answer_and_nothing_is_logged(running, path, caplog):
    caplog.set_level(logging.WARNING)
    raw, wrong = running.raw(), []
    kind = {"Content-Type": "application/json"}
    for at in places(GOOD[path]):
        for value in VALUES:
            body = json.dumps(marked(GOOD[path], at)).replace(json.dumps(MARK), value)
            answer = raw.post(path, content=body, headers=kind)
            if answer.status_code >= 500:
                wrong.append((at, value[:20], answer.status_code, answer.text[:200]))
            elif answer.status_code >= 400:
                message = answer.json()["error"]["message"]
                if not message or len(message) > 400:
                    wrong.append((at, value[:20], message[:200]))
    assert wrong == []
    assert caplog.records == []


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize(
    "body", [b"", b" ", b"null", b"[]", b"1", b'"x"', b"{", b"\xff", b"{}x", b"\x00", DEEP.encode()]
)
def test_what_is_no_object_is_refused(running, path, body):
    kind = {"Content-Type": "application/json"}
    answer = running.raw().post(path, content=body, headers=kind)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
