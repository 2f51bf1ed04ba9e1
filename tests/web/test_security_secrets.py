"""Secrets and inner matters: masked in logs, absent from answers, whatever is sent."""

from __future__ import annotations

import io
import logging
import random
import re
import traceback

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient
from tests.web.conftest import BASE, log_in
from tests.web.routes_of import filled, routes

from tunery.errors import TuneryError
from tunery.redaction import RedactingFilter, redact, remember
from tunery.server.app import create_app

INNER = re.compile(r"0x[0-9a-f]{8,}|Traceback|/root/|/home/|site-packages|File \"|\.py\b")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("use hf_AbCdEfGhIjKlMnOp1234 now", "use hf_*** now"),
        ("sk-proj-abcdefghijklmnop", "sk-***"),
        ("ms-0123456789abcdef", "ms-***"),
        ("ghp_0123456789abcdef0123", "ghp_***"),
        ("tunery-0a1b2c3d-abcdefghijklmnopqrst", "tunery-***"),
        ("Authorization: Bearer abc.def-ghi_jkl", "Authorization: Bearer ***"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
        ("http://127.0.0.1:7860/#token=abc&x=1", "http://127.0.0.1:7860/#token=***&x=1"),
        ("GET /a?token=abcdef HTTP", "GET /a?token=*** HTTP"),
        ("https://user:pass@host/x", "https://***@host/x"),
        ("HF_ENDPOINT=https://hf-mirror.com", "HF_ENDPOINT=https://hf-mirror.com"),
        ("no secret: tokens 3,412, ask-me-anything, hf_hub", None),
    ],
)
def test_what_looks_like_a_secret_is_masked(text, safe):
    assert redact(text) == (text if safe is None else safe)


def test_known_values_are_masked_whatever_they_look_like(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_PASSWORD", "correct horse battery")
    monkeypatch.setenv("HF_TOKEN_PATH", "/root/.cache/huggingface/token")
    remember("a plain looking value")
    text = "correct horse battery, a plain looking value, /root/.cache/huggingface/token"
    assert redact(text) == "***, ***, /root/.cache/huggingface/token"


def test_the_log_holds_no_secret_not_even_in_a_traceback():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger("test-redaction")
    logger.addHandler(handler)
    logger.propagate = False
    logger.warning("key %s", "hf_AbCdEfGhIjKlMnOp1234")
    try:
        raise ValueError("hf_AbCdEfGhIjKlMnOp1234")
    except ValueError:
        logger.exception("failed")
    logger.removeHandler(handler)
    assert "hf_***" in stream.getvalue()
    assert "AbCdEf" not in stream.getvalue()
    assert "Traceback" in stream.getvalue()


router = APIRouter(prefix="/api/v1/toys")


@router.get("/bug")
def bug() -> None:
    raise RuntimeError("/root/secret hf_AbCdEfGhIjKlMnOp1234 at 0x7f0000000000")


@router.get("/refused")
def refused() -> None:
    raise TuneryError(
        "/srv/data/rows.jsonl line 3: bad, key hf_AbCdEfGhIjKlMnOp1234.", code="E1", path="/srv/x"
    )


def test_a_bug_is_a_500_that_names_the_request_and_nothing_else(home, caplog):
    app = create_app(routers=[router], api=())
    browser = log_in(TestClient(app, BASE, raise_server_exceptions=False))
    answer = browser.get("/api/v1/toys/bug")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "content-security-policy" in answer.headers
    problem = answer.json()
    assert problem["code"] == "internal"
    assert problem["request_id"] in problem["fix"]
    assert problem["request_id"] in caplog.text
    assert not INNER.search(answer.text)
    assert "hf_" not in answer.text


def test_an_error_for_people_is_a_problem_with_its_facts(home):
    browser = log_in(TestClient(create_app(routers=[router], api=()), BASE))
    answer = browser.get("/api/v1/toys/refused")
    assert answer.status_code == 422
    assert answer.json()["code"] == "E1"
    assert answer.json()["detail"] == "/srv/data/rows.jsonl line 3: bad, key hf_***."
    assert answer.json()["params"] == {"path": "/srv/x"}


def test_who_is_no_admin_sees_no_folders(home, key):
    public = APIRouter(prefix="/v1x")
    app = create_app(routers=[router, public], api=())
    program = TestClient(app, BASE, headers=key("chat"))
    answer = program.get("/api/v1/toys/refused")
    assert answer.status_code == 403
    assert answer.json()["params"] == {}
    from tunery.server import problems
    from tunery.server.security.tokens import Principal

    state = {"principal": Principal("key:x", frozenset({"jobs"})), "request_id": "r"}
    scope = {"type": "http", "path": "/api/v1/x", "headers": [], "state": state, "method": "GET"}
    problem = problems.Problem(422, "/srv/data/rows.jsonl and ~/a/b are bad", params={"path": "/x"})
    body = bytes(problems.answer(scope, problem).body).decode()
    assert "rows.jsonl and b are bad" in body
    assert "/srv" not in body


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_odd_requests_break_nothing_and_learn_nothing(app, quiet, count):
    """Random paths, queries and JSON on every route: no 500, no inner matter in any answer."""
    rng = random.Random(count)
    every = [(m, p) for m, p in routes(app) if p not in ("/api/v1/token/renew", "/login")]
    heavy = ("/events", "/machine/report", "/models/{name:path}")  # a stream; seconds of work
    every = [(m, p) for m, p in every if not p.endswith(heavy) and not p.startswith("/static")]
    odd = [None, True, -1, 1e308, 2**70, "", "x", "../x", "\x00", "é" * 99, [], {}, [[]], {"a": {}}]
    wrong = []
    for _ in range(count):
        method, path = rng.choice(every)
        names = [
            "name",
            "config",
            "text",
            "model",
            "path",
            "value",
            "topics",
            "after",
            "id",
            "data",
        ]
        body = {rng.choice(names): rng.choice(odd) for _ in range(rng.randrange(4))}
        query = {rng.choice(names): str(rng.choice(odd))[:50] for _ in range(rng.randrange(3))}
        word = rng.choice(["x", "0", "a.b", "%00", "zz-zz", "%F0%9F%98%80", "x" * 70])
        try:
            answer = quiet.request(method, filled(path, word), json=body, params=query)
        except Exception:
            wrong.append((method, path, traceback.format_exc()[-300:]))
            continue
        inner = INNER.search(answer.text) if answer.status_code >= 400 else None
        if answer.status_code == 500 or inner:
            wrong.append((method, path, body, query, answer.status_code, answer.text[:200]))
    assert wrong == []
