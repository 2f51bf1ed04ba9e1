"""Settings: what is saved holds everywhere, and no secret comes back."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tunery.models import accounts, hub
from tunery.services.datasets import _uploads
from tunery.services.machine import _roots

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"


def put(client: TestClient, path: str, **body: object):
    return client.put(f"/api/v1/settings/{path}", json=body)


def test_a_saved_hub_is_the_one_that_everything_uses(client: TestClient):
    assert put(client, "sources/hub_endpoint", value="https://hf-mirror.com").status_code == 200
    assert hub.endpoint() == "https://hf-mirror.com"
    assert client.get("/api/v1/machine").json()["hub"] == "hf-mirror.com"
    put(client, "sources/hub_endpoint", value="")
    assert hub.endpoint() == hub.DEFAULT


def test_the_environment_wins_over_what_is_saved(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    put(client, "sources/hub_endpoint", value="https://hf-mirror.com")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    assert hub.endpoint() == "https://hub.example"
    text = client.get("/settings").text
    assert "Set by the environment variable HF_ENDPOINT." in text


def test_a_token_is_kept_for_its_owner_alone_and_never_shown(client: TestClient, home: Path):
    answer = put(client, "sources/hub_token", value=TOKEN)
    assert answer.json() == {"value": "", "is_saved": True, "variable": ""}
    file = home / "accounts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert accounts.value("hub_token") == TOKEN
    for path in ("/settings", "/api/v1/settings", "/api/v1/prefs"):
        assert TOKEN not in client.get(path).text, path
    assert 'placeholder="saved"' in client.get("/settings").text
    put(client, "sources/hub_token", value="")
    assert accounts.value("hub_token") == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hub_token", "two words"),
        ("hub_token", "short"),
        ("hub_endpoint", "hf-mirror.com"),
        ("hub_endpoint", "javascript:alert(1)"),
        ("proxy", "127.0.0.1:7890"),
        ("proxy", "socks5://127.0.0.1:1080"),
    ],
)
def test_what_is_no_address_or_token_is_refused_with_a_fix(
    client: TestClient, name: str, value: str
):
    answer = put(client, f"sources/{name}", value=value)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert answer.json()["fix"]


def test_the_password_of_a_proxy_is_not_shown(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    for name in accounts.VARIABLES["proxy"]:
        monkeypatch.delenv(name, raising=False)
    shown = put(client, "sources/proxy", value="http://me:geheim@127.0.0.1:7890").json()
    assert shown["value"] == "http://***@127.0.0.1:7890"
    assert "geheim" not in client.get("/settings").text
    assert accounts.proxy() == "http://me:geheim@127.0.0.1:7890"


def test_folders_may_be_added_but_not_the_whole_disk(client: TestClient, tmp_path: Path):
    more = tmp_path / "more"
    more.mkdir()
    assert put(client, "roots", folders=[str(more)]).status_code == 200
    assert _roots.inside_roots(more / "x") == more / "x"
    assert put(client, "roots", folders=["/"]).json()["code"] == "too_wide"
    assert put(client, "roots", folders=[str(more / "none")]).json()["code"] == "no_folder"


def test_a_link_out_of_the_folders_is_outside(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setattr(_roots, "USUAL", ())
    inside = tmp_path / "person"
    inside.mkdir()
    (inside / "link").symlink_to("/etc")
    assert client.get("/settings").status_code == 200
    with pytest.raises(Exception, match="is outside the folders that the page may open"):
        _roots.inside_roots(inside / "link" / "passwd")
    with pytest.raises(Exception, match="is outside the folders that the page may open"):
        _roots.inside_roots(tmp_path / "person2")


def test_the_largest_upload_can_be_changed(client: TestClient):
    assert put(client, "limits", upload_bytes=2**30).json() == {"upload_bytes": 2**30}
    assert _uploads.upload_limit() == 2**30
    assert put(client, "limits", upload_bytes=5).status_code == 422
    put(client, "limits", upload_bytes=None)
    assert _uploads.upload_limit() == _uploads.MAX_BYTES


def test_a_key_is_listed_without_itself_until_it_is_revoked(client: TestClient):
    made = client.post("/api/v1/keys", json={"name": "<b>editor</b>", "scopes": ["chat"]}).json()
    text = client.get("/settings").text
    assert made["key"] not in text
    assert "&lt;b&gt;editor&lt;/b&gt;" in text
    client.delete(f"/api/v1/keys/{made['id']}")
    assert "editor&lt;" not in client.get("/settings").text


def test_limits_of_a_key_are_given_and_shown(client: TestClient):
    body = {"name": "shared", "models": ["demo"], "expires_in_days": 30, "requests_per_minute": 60,
            "tokens_per_minute": 5000, "parallel": 2}  # fmt: skip
    made = client.post("/api/v1/keys", json=body)
    assert made.status_code == 201
    limits = client.get("/api/v1/keys").json()[0]["limits"]
    assert limits["models"] == ["demo"]
    assert 29 < (limits["expires"] - made.json()["created"]) / 86_400 < 31
    assert (limits["requests_per_minute"], limits["parallel"]) == (60, 2)
    text = client.get("/settings").text
    for told in ("demo", "60 requests", "5,000 tokens", "2 parallel answers"):
        assert told in text
    wrong = client.post("/api/v1/keys", json=body | {"scopes": ["admin"]})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "bad_limit")
    assert client.post("/api/v1/keys", json=body | {"parallel": -1}).status_code == 422
