"""Every path of a client is checked: each route, field and page, with paths outside the folders."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.chat_model import make_chat_model
from tests.web.conftest import BASE

from tunery.config import settings as config_settings
from tunery.services import access
from tunery.services.machine import inside_roots, roots

CANARY = "CANARY-5d1e"

FREE = {
    # text that names nothing on the disk
    "answer", "changes[].path[]", "changes[].text", "changes[].values.*", "path[]", "dtype",
    "fields.*", "keys", "note", "q", "sha256", "sort", "status",
    "tag", "tags[]", "text", "title", "to", "token", "tokens[]", "too_long", "undo", "value",
    "variables.*", "webhook", "yaml", "*", "idempotency-key", "content-range", "after", "topics",
    "kind", "lang", "key", "preset", "template", "allow_drift[]",
    # names of what Tunery keeps; each is looked up, never opened as a path
    "chat", "columns[]", "column", "draft", "ids", "id_", "job", "job_id", "names[]", "runs[]",
    "upload_id",
}  # fmt: skip
"""Fields by name that take no path; those of ``SENT`` and ``NAMES`` are tried below."""

SENT: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/v1/exports"): {"run": "demo", "to": "merged", "folder": ""},
    ("POST", "/api/v1/evals"): {"models": ["demo"], "run": "", "dataset": "identity"},
    ("POST", "/api/v1/serving"): {"model": "demo"},
    ("POST", "/api/v1/downloads"): {"name": "demo"},
    ("POST", "/api/v1/resolve"): {"text": ""},
    ("POST", "/api/v1/models/allow-code"): {"name": "demo", "sha256": "0" * 64},
    ("POST", "/api/v1/models/revoke-code"): {"name": "demo"},
    ("POST", "/api/v1/chats"): {"settings": {"columns": ["demo"]}},
    ("POST", "/api/v1/chats/check"): {"settings": {"columns": ["demo"]}},
    ("POST", "/api/v1/chats/once"): {"settings": {"columns": ["demo"]}, "text": "hi"},
    ("PATCH", "/api/v1/chats/x"): {"settings": {"columns": ["demo"]}},
    ("POST", "/api/v1/datasets"): {"source": "identity", "data": {"catalog": None}},
    ("POST", "/api/v1/datasets/propose"): {"source": "identity", "data": {"catalog": None}},
    ("POST", "/api/v1/datasets/bring"): {"source": "identity", "data": {"catalog": None}},
    ("POST", "/api/v1/datasets/import"): {"source": "identity", "names": ["a"]},
    ("POST", "/api/v1/infer/load"): {"model": "demo"},
    ("POST", "/api/v1/infer/unload"): {"model": "demo"},
    ("POST", "/api/v1/drafts"): {"run": ""},
    ("POST", "/api/v1/runs"): {"config": {}},
}
"""A good body of each route that takes a path in one."""

TEXTS = {("POST", "/api/v1/resolve"): "text"}
IN_SENT = {"folder", "run", "models[]", "dataset", "model", "name", "source", "settings.*",
           "data.*", "config.*", "path"}  # fmt: skip
ASKED = [
    "/api/v1/exports?run={}", "/api/v1/models/browse?path={}", "/api/v1/models/code?name={}",
    "/api/v1/models/{}", "/api/v1/datasets/identity/tokens?model={}",
    "/api/v1/datasets/identity/statistics?model={}", "/api/v1/runs/compare?ids=a,{}",
    "/train?model={}", "/train?dataset={}", "/train?from={}", "/chat?a={}", "/evaluate?model={}",
    "/export?run={}", "/models/{}", "/compare?ids=a,{}",
]  # fmt: skip


@pytest.fixture
def outside(home: Path) -> Iterator[Path]:
    """A folder that nobody allowed: a model with code, rows, settings, a template, a run."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="tunery-door-"))
    make_chat_model(folder / "model")
    (folder / "model" / "modeling_x.py").write_text(f"# {CANARY}\n")
    rows = {"instruction": CANARY, "output": CANARY}
    (folder / "rows.jsonl").write_text(json.dumps(rows) + "\n")
    (folder / "template.jinja").write_text(CANARY)
    (folder / "config.yaml").write_text(f"model:\n  name: {CANARY}\n")
    (folder / "events.jsonl").write_text(json.dumps({"kind": "started", "text": CANARY}) + "\n")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def ways(outside: Path, tmp_path: Path) -> list[str]:
    """Texts that lead there: whole, by a link within an allowed folder, by steps up."""
    link = tmp_path / "link"
    link.symlink_to(outside)
    up = "../" * 30
    return [
        str(outside / "model"), str(outside / "rows.jsonl"), str(outside), str(link / "model"),
        str(link / "rows.jsonl"), f"{tmp_path}/{up}{str(outside)[1:]}/model",
        f"{up}{str(outside)[1:]}/rows.jsonl", "/etc", "/etc/passwd", "~/.ssh/id_rsa", "~root/.ssh",
    ]  # fmt: skip


def string_fields(spec: dict[str, Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    """Every place of a text in a schema, such as ``models[]`` or ``settings.*``."""
    while "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for key in ("anyOf", "allOf", "oneOf"):
        for each in schema.get(key, ()):
            yield from string_fields(spec, each, at)
    if schema.get("type") == "string" and "enum" not in schema and "const" not in schema:
        yield at
    if schema.get("type") == "array":
        yield from string_fields(spec, schema.get("items", {}), f"{at}[]")
    if schema.get("type") == "object":
        for name, each in schema.get("properties", {}).items():
            yield from string_fields(spec, each, f"{at}.{name}" if at else name)
        if schema.get("additionalProperties") or not schema.get("properties"):
            yield f"{at}.*" if at else "*"


def fields_of(app) -> Iterator[tuple[str, str, str]]:
    spec = app.openapi()
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            for each in operation.get("parameters", ()):
                for _ in string_fields(spec, each["schema"], ""):
                    yield method.upper(), path, each["name"].lower()
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            for at in string_fields(spec, body["schema"], "") if body else ():
                yield method.upper(), path, at


def test_every_text_field_of_every_route_is_known_to_these_tests(app):
    """A new field fails here until somebody says whether it can be a path."""
    bodies = {path.replace("/x", "/{chat}") for _, path in SENT}
    unknown = set()
    for method, path, at in fields_of(app):
        named = at in IN_SENT and (path in bodies or f"{{{at}}}" in path or method == "GET")
        kept = at in ("name", "model", "dataset", "source", "folder", "folders[]")
        if at not in FREE and not named and not kept:
            unknown.add((method, path, at))
    # names that are compared with what is served, and never resolved
    assert unknown == {("POST", "/api/v1/keys", "models[]")}


def variants(body: Any, way: str) -> Iterator[Any]:
    """The body with one text (or empty place) changed for the path."""
    if isinstance(body, dict):
        for key, value in body.items():
            if key in ("to", "sha256", "names") or (key == "text" and body.get("settings")):
                continue
            for other in variants(value, way):
                yield {**body, key: other}
    elif isinstance(body, list):
        for number, value in enumerate(body):
            for other in variants(value, way):
                yield [*body[:number], other, *body[number + 1 :]]
    elif body is None or isinstance(body, str):
        yield way


@pytest.mark.parametrize("who", ["person", "key"])
def test_no_field_of_any_route_leads_out(app, quiet, key, ways, who, home):
    client = quiet
    if who == "key":
        client = TestClient(app, BASE, headers=key("admin"), raise_server_exceptions=False)
    wrong = []
    for (method, path), good in SENT.items():
        if path == "/api/v1/runs":
            continue
        for way in ways:
            for body in variants(good, way):
                answer = client.request(method, path, json=body)
                told = answer.json()
                refused = told.get("code") in ("forbidden", "unknown", "not_found") or (
                    told.get("kind") == "outside"
                )
                if answer.status_code >= 500 or not refused or CANARY in answer.text:
                    wrong.append((method, path, body, answer.status_code, answer.text[:200]))
                offered = [r["action"] for r in told.get("remedies", ())]
                if who == "key" and offered:
                    wrong.append((path, "offers a key", offered))
    for way in ways:
        for asked in ASKED:
            answer = client.get(asked.format(way.replace("#", "%23")))
            if answer.status_code not in (403, 404, 422) or CANARY in answer.text:
                wrong.append((asked, way, answer.status_code, answer.text[:200]))
    assert wrong == []
    assert client.get("/api/v1/jobs").json()["jobs"] == []
    assert client.get("/api/v1/serving").json() == []


def path_settings() -> list[config_settings.Setting]:
    """The settings whose value can be a place on the disk."""
    known = ("model.name", "model.template", "data.train", "data.catalog", "data.replay.prompts",
             "evaluate.datasets", "track.tensorboard.folder")  # fmt: skip
    return [found[0] for path in known if (found := config_settings.by_path().get(path))]


def test_no_setting_of_a_draft_or_a_run_leads_out(client, ways, home):
    assert len(path_settings()) == 7
    taking = {s.path for s in config_settings.walk() if s.takes(Path)}
    assert taking <= {s.path for s in path_settings()}
    wrong = []
    for setting in path_settings():
        for way in ways:
            for value in [[way], ["identity", f"{way}*2"]] if setting.is_list else [way]:
                on = {setting.switch: True} if setting.switch else {}
                fields = {**on, setting.path: value}
                kept = client.put("/api/v1/drafts/d", json={"fields": fields}).json()
                if setting.path not in kept["errors"] or kept["can_plan"]:
                    wrong.append((setting.path, value, kept["errors"]))
                if CANARY in json.dumps(kept) or client.post(
                    "/api/v1/drafts/d/plan", json={}
                ).json().get("plan"):
                    wrong.append((setting.path, value, "planned"))
                start = client.post("/api/v1/runs", json={"draft": "d"})
                if start.status_code != 422:
                    wrong.append((setting.path, value, start.status_code))
    way = ways[0]
    for text in (f"model:\n  name: {way}\n", f"data:\n  train: [{way}]\n"):
        kept = client.put("/api/v1/drafts/y", json={"yaml": text}).json()
        assert "is outside the folders that the page may open" in json.dumps(kept["errors"]), text
    started = client.post("/api/v1/runs", json={"config": {"data": {"train": [way]}}})
    assert started.status_code == 422
    assert wrong == []
    assert client.get("/api/v1/runs").json()["runs"] == []


def test_a_person_allows_a_folder_and_a_key_may_not(app, client, key, outside):
    model = str(outside / "model")
    refused = client.post("/api/v1/chats/check", json={"settings": {"columns": [model]}})
    assert refused.status_code == 403
    (remedy,) = refused.json()["remedies"]
    assert remedy["action"] == "allow_folder"
    assert remedy["folder"] == model
    program = TestClient(app, BASE, headers=key("admin"))
    for method, path, body in (
        ("POST", "/api/v1/settings/roots/allow", {"folder": model}),
        ("PUT", "/api/v1/settings/roots", {"folders": [model]}),
    ):
        assert program.request(method, path, json=body).status_code == 403
    draft = client.put("/api/v1/drafts/d", json={"fields": {"model.name": model}}).json()
    assert draft["errors"]["model.name"]["remedies"] == [remedy]
    (problem,) = client.post("/api/v1/resolve", json={"text": model}).json()["problems"]
    assert problem["remedies"] == [remedy]
    (problem,) = program.post("/api/v1/resolve", json={"text": model}).json()["problems"]
    assert problem["remedies"] == []
    allowed = client.post("/api/v1/settings/roots/allow", json={"folder": remedy["folder"]})
    assert model in allowed.json()["added_roots"]
    body = {"settings": {"columns": [model]}}
    assert client.post("/api/v1/chats/check", json=body).status_code == 200
    draft = client.put("/api/v1/drafts/d", json={"fields": {"model.name": model}}).json()
    assert "model.name" not in draft["errors"]
    whole = client.post("/api/v1/settings/roots/allow", json={"folder": "/"})
    assert whole.json()["code"] == "too_wide"


def test_keys_in_hidden_folders_and_our_own_files_are_not_in_the_home(home, tmp_path, monkeypatch):
    person = tmp_path / "person"
    for place in (".ssh", "data/.git", ".cache/huggingface/hub", "models"):
        (person / place).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.setattr("tunery.services.machine._roots.USUAL", ())
    monkeypatch.delenv("HF_HOME", raising=False)
    home.mkdir(exist_ok=True)
    (home / "token").write_text("secret")
    (home / "runs").mkdir()
    inside = [person, person / "models", person / ".cache/huggingface/hub/x", home / "runs" / "a"]
    assert [inside_roots(each) for each in inside] == inside
    for each in (".ssh", ".ssh/id_rsa", "data/.git/config", ".cache/huggingface/token", ".netrc"):
        with pytest.raises(access.TuneryError) as caught:
            access.path(str(person / each))
        assert caught.value.code == "forbidden"
    with pytest.raises(access.TuneryError) as caught:
        access.path(str(home / "token"))
    assert "remedies" not in caught.value.fields
    assert Path("/") not in roots()


def test_what_a_catalog_lists_is_checked_like_a_path(client, outside, tmp_path, home):
    """A registry of LLaMA-Factory may name any place; it lies in an allowed folder itself."""
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "mine.jsonl").write_text('{"instruction": "q", "output": "a"}\n')
    up = "../" * 30 + str(outside / "rows.jsonl")[1:]
    rows = {"source": "entry", "data": {"catalog": str(folder)}}
    config = {"data": {"catalog": str(folder), "train": ["entry"]}, "model": {"name": "demo"}}
    for file in (str(outside / "rows.jsonl"), up, "mine.jsonl"):
        entries = {"entry": {"file_name": file}}
        (folder / "dataset_info.json").write_text(json.dumps(entries))
        found = access.config({"data.catalog": str(folder)})
        proposed = client.post("/api/v1/datasets/propose", json=rows)
        assert CANARY not in proposed.text
        if file == "mine.jsonl":
            assert not found
            assert "outside the folders" not in proposed.text
            continue
        assert found["data.catalog"].code == "forbidden"
        for refused in (proposed, client.post("/api/v1/runs", json={"config": config})):
            assert refused.status_code in (403, 422), refused.text
            assert "outside the folders" in refused.text
            assert CANARY not in refused.text
