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


def test_every_operation_has_a_title_made_of_words(app):
    """FastAPI would take the function's name: "Who", "One"."""
    titles = [
        each["summary"]
        for path in app.openapi()["paths"].values()
        for each in path.values()
        if "description" in each
    ]
    assert len(titles) > 100
    assert [title for title in titles if " " not in title or title.endswith(".")] == []
    assert "Create a key" in titles
