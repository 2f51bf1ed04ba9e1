"""Who comes in: token, session, keys, scopes, and what happens to those who guess."""

from __future__ import annotations

import json
import stat

import pytest
from fastapi import APIRouter, Depends
from starlette.testclient import TestClient
from tests.web.conftest import BASE
from tests.web.routes_of import closed, filled

from tunery.server.app import create_app
from tunery.server.security import access, tokens
from tunery.server.security.access import needs
from tunery.server.security.limits import raw_limit
from tunery.server.security.tokens import TokenFile

OWN = {"Origin": BASE, "X-Tunery": "1"}


def test_every_route_needs_a_login(app, anonymous):
    wrong = []
    for method, path in closed(app):
        for headers in ({}, OWN, {"Accept": "application/json"}):
            answer = anonymous.request(method, filled(path), headers=headers)
            if answer.status_code != 401:
                wrong.append((method, path, answer.status_code))
    assert wrong == []


def test_every_page_without_a_session_leads_to_the_login(app, anonymous):
    pages = [p for m, p in closed(app) if m == "GET" and not p.startswith(("/api/", "/v1/"))]
    for path in pages:
        answer = anonymous.get(filled(path), headers={"Accept": "text/html"})
        assert answer.status_code == (401 if path == "/metrics" else 303), path


def test_a_key_without_admin_opens_only_what_is_marked_for_it(app, anonymous, key):
    headers = key("chat")
    raw = {**headers, "Content-Type": "application/octet-stream"}
    opened = [
        (method, path)
        for method, path in closed(app)
        if not path.startswith("/v1/")
        and path != "/metrics"
        and anonymous.request(
            method, filled(path), headers=raw if raw_limit(method, filled(path)) else headers
        ).status_code
        != 403
    ]
    assert opened == []


JOBS = ("runs", "queue", "jobs", "downloads", "exports", "evals", "events")
"""What a key with the scope ``jobs`` is for: the areas of the API by their first word."""


def _is_of_jobs(method: str, path: str) -> bool:
    saves_a_secret = (method, path) == ("PUT", "/api/v1/downloads/token")
    return path.removeprefix("/api/v1/").split("/")[0] in JOBS and not saves_a_secret


def test_each_scope_opens_what_its_name_says_and_nothing_else(app, key):
    """Every route of the API and every scope: whether the door lets it through."""
    program = TestClient(app, BASE, raise_server_exceptions=False)
    wrong = []
    for scope in tokens.SCOPES:
        headers = key(scope)
        for method, path in closed(app):
            if path in ("/api/v1/events", "/api/v1/token/renew", "/api/v1/machine/report"):
                continue  # endless; ends every session; starts torch
            if path in ("/api/v1/settings/roots", "/api/v1/settings/roots/allow"):
                continue  # for a person alone: tests/web/test_access.py
            raw = raw_limit(method, filled(path)) is not None
            kind = "application/octet-stream" if raw else "application/json"
            answer = program.request(
                method, filled(path, "nothere"), headers={**headers, "Content-Type": kind}
            )
            told = answer.json() if answer.status_code == 403 else {}
            error = told.get("error", {})
            codes = {told.get("code"), error.get("code"), error.get("type")}
            let_in = not codes & {"forbidden", "insufficient_scope", "permission_error"}
            right = {
                "admin": True,
                "jobs": path.startswith("/api/v1/") and _is_of_jobs(method, path),
                "chat": path.startswith("/v1/") or path == "/metrics",
            }[scope]
            if let_in != right:
                wrong.append((scope, method, path, answer.status_code))
    assert wrong == []


def test_a_key_for_jobs_lists_queues_and_watches(app, key):
    program = TestClient(app, BASE, headers=key("jobs"))
    for path in ("runs", "queue", "jobs", "downloads", "exports", "evals", "downloads/sources"):
        assert program.get(f"/api/v1/{path}").status_code == 200, path
    assert program.get("/api/v1/events/poll?topics=runs,jobs").status_code == 200
    refused = program.post("/api/v1/runs", json={"config": {"model": {"name": "no-such-model"}}})
    assert refused.status_code == 422  # read, and refused for what it says
    assert program.post("/api/v1/runs/nothere/stop", json={}).status_code == 404


def test_a_route_names_the_scope_that_it_needs(home):
    router = APIRouter(prefix="/api/v1/toys")

    @router.get("/jobs", dependencies=[Depends(needs("jobs"))])
    def for_jobs() -> str:
        return "jobs"

    @router.get("/admin")
    def for_admin() -> str:
        return "admin"

    browser = TestClient(create_app(routers=[router], api=()), BASE)
    made = {
        scopes: {"Authorization": f"Bearer {tokens.create_key('k', scopes.split())[1]}"}
        for scopes in ("chat", "jobs", "chat jobs", "admin")
    }
    allowed = {
        (scopes, path): browser.get(f"/api/v1/toys/{path}", headers=headers).status_code == 200
        for scopes, headers in made.items()
        for path in ("jobs", "admin")
    }
    assert {pair for pair, ok in allowed.items() if ok} == {
        ("jobs", "jobs"),
        ("chat jobs", "jobs"),
        ("admin", "jobs"),
        ("admin", "admin"),
    }


def test_the_token_is_made_once_for_this_user_alone(home):
    file = TokenFile(home / "token")
    token = file.token()
    assert len(token) >= 43  # 256 bits
    assert stat.S_IMODE((home / "token").stat().st_mode) == 0o600
    assert TokenFile(home / "token").token() == token


def test_a_token_file_that_others_can_read_is_closed_to_them(home):
    TokenFile(home / "token").token()
    (home / "token").chmod(0o644)
    TokenFile(home / "token").token()
    assert stat.S_IMODE((home / "token").stat().st_mode) == 0o600


def test_the_token_is_changed_for_a_cookie_that_scripts_cannot_read(app, anonymous):
    answer = anonymous.post("/api/v1/session", json={"token": app.state.token.token()}, headers=OWN)
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert app.state.token.token() not in cookie
    assert anonymous.get("/api/v1/health").status_code == 200
    assert anonymous.delete("/api/v1/session", headers=OWN).status_code == 204
    assert anonymous.get("/api/v1/health").status_code == 401


def test_a_session_outlives_the_server_and_ends_with_the_token(app, client, settings):
    again = TestClient(create_app(settings), BASE, cookies=client.cookies)
    assert again.get("/api/v1/health").status_code == 200
    renewed = client.post("/api/v1/token/renew")
    assert client.get("/api/v1/health").status_code == 200  # this browser got a new cookie
    assert again.get("/api/v1/health").status_code == 401
    assert renewed.json()["token"] == app.state.token.token()


def test_made_up_and_old_cookies_open_nothing(app, anonymous, monkeypatch):
    name, good = app.state.token.cookie_name(), app.state.token.new_session()
    body, _, signature = good.rpartition(".")
    signed = f"v1.9999999999.a.{signature}"
    forged = ["", "x", f"{body}.", f"{body}.{signature[:-1]}0g", signed, "é"]
    for cookie in forged:
        header = {"Cookie": f"{name}={cookie}".encode("latin-1", "replace")}
        assert anonymous.get("/api/v1/health", headers=header).status_code == 401, cookie
    assert anonymous.get("/api/v1/health", headers={"Cookie": f"{name}={good}"}).status_code == 200
    monkeypatch.setattr(tokens, "SESSION_SECONDS", -1)
    assert anonymous.get("/api/v1/health", headers={"Cookie": f"{name}={good}"}).status_code == 401


def test_ten_times_the_same_wrong_token_a_minute_are_enough(app, anonymous):
    wrong = {"Authorization": "Bearer wrong"}
    assert [anonymous.get("/api/v1/health", headers=wrong).status_code for _ in range(12)] == [
        *[401] * 10,
        429,
        429,
    ]
    other = {"Authorization": "Bearer another"}
    assert anonymous.get("/api/v1/health", headers=other).status_code == 401
    said = [
        anonymous.post("/api/v1/session", json={"token": "hunter2"}, headers=OWN) for _ in range(11)
    ]
    assert [answer.status_code for answer in said] == [*[401] * 10, 429]
    assert 0 < int(said[-1].headers["retry-after"]) <= 61


def test_a_right_key_or_token_passes_after_any_number_of_wrong_ones(app, anonymous, key):
    """Everybody behind a tunnel or a proxy has the same address."""
    for number in range(150):
        guess = {"Authorization": f"Bearer guess-{number}"}
        last = anonymous.get("/api/v1/health", headers=guess).status_code
    assert last == 429  # of one address, whatever it gives
    assert anonymous.get("/api/v1/health", headers=key("admin")).status_code == 200
    assert anonymous.get("/v1/models", headers=key("chat")).status_code == 200
    bearer = {"Authorization": f"Bearer {app.state.token.token()}"}
    assert anonymous.get("/api/v1/health", headers=bearer).status_code == 200
    right = {"token": app.state.token.token()}
    assert anonymous.post("/api/v1/session", json=right, headers=OWN).status_code == 200


def test_wrong_logins_are_counted_and_forgotten_after_a_minute(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(access.time, "monotonic", lambda: now[0])
    failures = access.Failures(2)
    failures.add("a", "x")
    assert failures.blocked_seconds("a", "x") == 0
    failures.add("a", "x")
    assert failures.blocked_seconds("a", "x") == 60
    assert failures.blocked_seconds("a", "y") == 0
    assert failures.blocked_seconds("b", "x") == 0
    now[0] += 60
    assert failures.blocked_seconds("a", "x") == 0
    for number in range(access.PLACES + 10):
        failures.add(str(number), "x")
    assert len(failures._times) == access.PLACES


def test_a_key_is_shown_once_kept_as_a_hash_and_revoked_for_good(app, client, home):
    made = client.post("/api/v1/keys", json={"name": " my  laptop ", "scopes": ["jobs", "chat"]})
    assert made.status_code == 201
    key = made.json()["key"]
    assert made.json()["name"] == "my laptop"
    program = TestClient(app, BASE, headers={"Authorization": f"Bearer {key}"})
    assert program.get("/api/v1/keys").status_code == 403
    listed = client.get("/api/v1/keys").json()
    assert [(k["name"], k["scopes"], k["revoked"]) for k in listed] == [
        ("my laptop", ["chat", "jobs"], None)
    ]
    assert listed[0]["last_used"]
    assert key.split("-", 2)[2] not in json.dumps(listed)
    assert key.split("-", 2)[2].encode() not in b"".join(
        file.read_bytes() for file in home.iterdir() if file.is_file()
    )
    assert client.delete(f"/api/v1/keys/{listed[0]['id']}").status_code == 204
    assert program.get("/api/v1/keys").status_code == 401
    assert client.delete("/api/v1/keys/nothere").status_code == 404


@pytest.mark.parametrize("body", [{"name": ""}, {"name": "x", "scopes": []}, {"name": "x" * 81}])
def test_a_key_needs_a_name_and_a_scope(client, body):
    assert client.post("/api/v1/keys", json=body).status_code == 422


def test_keys_given_at_the_start_may_chat_only(home):
    from tunery.server.settings import ServerSettings

    app = create_app(ServerSettings(api_keys=("given-key",)), api=())
    browser = TestClient(app, BASE, headers={"Authorization": "Bearer given-key"})
    assert browser.get("/api/v1/version").status_code == 403


def test_who_fails_to_log_in_and_who_changes_something_is_written_down(
    app, client, anonymous, home
):
    anonymous.post("/api/v1/session", json={"token": "hunter2-hunter2"}, headers=OWN)
    anonymous.get("/api/v1/health", headers={"Authorization": "Bearer wrong"})
    client.put("/api/v1/prefs/a", json={"value": 1})
    client.get("/api/v1/prefs")
    lines = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    assert [(e["what"], e["who"], e["path"], e.get("status"), e.get("how")) for e in lines] == [
        ("failed_login", None, "/api/v1/session", None, "token"),
        ("request", None, "/api/v1/session", 401, None),
        ("failed_login", None, "/api/v1/health", None, "bearer"),
        ("request", "page", "/api/v1/prefs/a", 200, None),
    ]
    assert "hunter2" not in (home / "audit.jsonl").read_text()
    assert stat.S_IMODE((home / "audit.jsonl").stat().st_mode) == 0o600


def test_every_route_that_changes_something_leaves_one_line(app, quiet, home):
    writes = [
        (m, p) for m, p in closed(app) if m not in ("GET", "HEAD") and not p.startswith("/v1")
    ]
    writes = [(m, p) for m, p in writes if p != "/api/v1/token/renew"]
    for method, path in writes:
        quiet.request(method, filled(path, "nothere"), json={"no": "such"})
    lines = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    assert [(e["method"], e["path"]) for e in lines] == [
        (method, filled(path, "nothere")) for method, path in writes
    ]
