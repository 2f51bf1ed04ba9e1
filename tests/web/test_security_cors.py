"""Web pages of other origins: off, and on for those that ``--cors-origin`` names."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient
from tests.web.conftest import BASE, log_in

from tunery.errors import ConfigError
from tunery.server.app import create_app
from tunery.server.settings import ServerSettings

PAGE = "https://app.example.net"
ASKS = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-api-key",
}


@pytest.fixture
def shared(home):
    settings = ServerSettings(cors_origins=(f"{PAGE}/",), api_keys=("k" * 20,))
    with TestClient(create_app(settings), BASE) as browser:
        yield browser


def test_a_preflight_needs_no_key(shared):
    answer = shared.options("/v1/chat/completions", headers=ASKS)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["access-control-allow-headers"] == ASKS["Access-Control-Request-Headers"]
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in answer.headers


def test_the_page_reads_answers_and_refusals(shared):
    headers = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
    refused = shared.get("/v1/models", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == PAGE
    headers["Authorization"] = "Bearer " + "k" * 20
    listed = shared.get("/v1/models", headers=headers)
    assert listed.status_code == 200
    assert listed.headers["access-control-allow-origin"] == PAGE
    assert listed.headers["cross-origin-resource-policy"] == "cross-origin"
    asked = shared.post("/v1/chat/completions", headers=headers, json={"model": "none"})
    assert asked.json()["error"]["param"] == "messages"


@pytest.mark.parametrize(
    ("path", "origin"),
    [("/v1/models", "https://evil.example"), ("/api/v1/prefs", PAGE), ("/metrics", PAGE),
     ("/v1/models", "http://app.example.net")],
)  # fmt: skip
def test_others_and_the_rest_of_the_server_stay_closed(shared, path, origin):
    answer = shared.options(path, headers=ASKS | {"Origin": origin})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    headers = {"Origin": origin, "Authorization": "Bearer " + "k" * 20}
    answer = shared.get(path, headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_person_s_cookie_opens_nothing_for_that_page(shared):
    browser = log_in(shared)
    assert browser.get("/v1/models").status_code == 200
    foreign = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
    assert browser.get("/v1/models", headers=foreign).status_code == 401


def test_a_star_is_every_page(home):
    browser = TestClient(create_app(ServerSettings(cors_origins=("*",))), BASE)
    answer = browser.options("/v1/models", headers=ASKS | {"Origin": "null"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")


@pytest.mark.parametrize(
    "origin", ["app.example.net", "https://x/path", "https://u@x", "", "https:"]
)
def test_an_origin_has_a_scheme_and_no_path(origin):
    with pytest.raises(ConfigError, match="not a valid origin"):
        ServerSettings(cors_origins=(origin,))
