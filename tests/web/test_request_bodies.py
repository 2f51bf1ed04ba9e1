"""What a body may hold: an unknown field is refused by name, and so is text that is no text."""

from __future__ import annotations

import pytest

from tunery.server.security import tokens

UNKNOWN = [
    ("POST", "/api/v1/keys", {"name": "kk", "expire_in_days": 1}, "expires_in_days"),
    ("POST", "/api/v1/keys", {"name": "kk", "modelss": ["demo"]}, "models"),
    ("POST", "/api/v1/runs", {"draft": "x", "confgi": {}}, "config"),
    ("POST", "/api/v1/exports", {"run": "demo", "to": "merged", "forced": True}, "force"),
    ("PATCH", "/api/v1/runs/x", {"titel": "a"}, "title"),
    ("PUT", "/api/v1/notify", {"webhook_onn": True}, "webhook_on"),
    ("PATCH", "/api/v1/datasets/x/rows", {"changes": [{"row": 1, "delet": True}]}, "delete"),
]


@pytest.mark.parametrize(("method", "path", "body", "near"), UNKNOWN)
def test_an_unknown_field_is_refused_with_the_nearest(client, method, path, body, near):
    answer = client.request(method, path, json=body)
    assert answer.status_code == 422
    told = answer.json()
    assert told["code"] == "invalid_request"
    assert told["detail"].endswith(f": no such field. Did you mean {near}?"), told["detail"]
    assert tokens.list_keys() == []


def test_the_field_is_named_with_its_place(client):
    body = {"changes": [{"row": 1, "delete": True}, {"row": 2, "zork": 1}]}
    told = client.patch("/api/v1/datasets/x/rows", json=body).json()
    assert told["detail"] == "changes[1].zork: no such field."
    client.cookies.set("tunery_lang", "zh")
    told = client.post("/api/v1/keys", json={"nam": "x"}).json()
    assert told["detail"] == "nam：没有这个字段。你是不是想写 name？"


@pytest.mark.parametrize(
    ("method", "path", "body", "sentence"),
    [
        ("POST", "/api/v1/keys", {}, "name is required."),
        ("POST", "/api/v1/keys", [], "The body must be an object, got a list."),
        ("POST", "/api/v1/keys", {"name": 5}, "name must be a string, got 5."),
        ("POST", "/api/v1/keys", {"name": "x" * 81},
         "name is too long; at most 80 characters are accepted."),
        ("POST", "/api/v1/keys", {"name": "x", "scopes": ["chatt"]},
         'scopes[0] must be "chat", "jobs" or "admin", got "chatt".'),
        ("POST", "/api/v1/keys", {"name": "x", "expires_in_days": -1},
         "expires_in_days must be more than 0, got -1."),
        ("POST", "/api/v1/keys", {"name": "x", "parallel": 1.5},
         "parallel must be a whole number, got 1.5."),
        ("POST", "/api/v1/runs/delete", {"names": []}, "names is empty; send at least one item."),
        ("PUT", "/api/v1/drafts/x", {"fields": {"a": [1]}}, "fields.a[0] must be a string, got 1."),
        ("GET", "/api/v1/runs?page=x", None, "page must be a whole number."),
        ("GET", "/api/v1/runs?page=0", None, "page must be at least 1."),
        ("GET", "/api/v1/runs?dir=up", None, 'dir must be "asc" or "desc", got "up".'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_described_in_a_sentence(client, method, path, body, sentence):
    answer = client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, sentence)
