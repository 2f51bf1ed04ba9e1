"""Health, the session, keys, preferences, and errors as answers."""

from __future__ import annotations


def test_the_server_says_that_it_lives(anonymous):
    assert anonymous.get("/healthz").json() == {"status": "ok"}


def test_a_session_opens_the_api(client, anonymous):
    assert client.get("/api/v1/health").json()["status"] == "ok"
    assert anonymous.get("/api/v1/health").status_code == 401


def test_a_page_without_a_session_leads_to_the_login(anonymous):
    answer = anonymous.get("/?a=1", headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/%3Fa%3D1"
