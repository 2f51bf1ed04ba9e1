"""The REST API of models and downloads, and what a typed text stands for."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.chat_model import make_chat_model
from tests.hub import Hub, model_files, write_files
from tests.train.adapters_made import adapter
from tests.web.test_runs_api import write_run

from tunery.jobs import start as launch
from tunery.models import bases, hubcache
from tunery.models.download import Policy
from tunery.models.ensure import pull
from tunery.workers.folder import write_json

FAST = Policy(attempts=2, first_delay_seconds=0.001, max_delay_seconds=0.002)
COMMIT = "c1899de2" + "0" * 32


@pytest.fixture
def place(home: Path) -> Path:
    """A folder that the page may open."""
    folder = home / "mine"
    folder.mkdir(parents=True)
    return folder


def ask(client: TestClient, text: str, **more: str) -> dict[str, Any]:
    answer = client.post("/api/v1/resolve", json={"text": text, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def actions(answer: dict[str, Any]) -> list[str]:
    return [action["action"] for action in answer["actions"]]


def cached(folder: Path, files: dict[str, bytes]) -> Path:
    """A hub-cache folder as the hub's library leaves it."""
    repo = folder / "models--org--tiny"
    write_files(repo / "snapshots" / COMMIT, files)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    return repo


def test_a_hub_cache_folder_names_the_snapshot_that_is_used(
    client: TestClient, place: Path
) -> None:
    answer = ask(client, str(cached(place, model_files())))
    assert (answer["ok"], answer["kind"]) == (True, "hub_cache")
    assert "snapshot c1899de2, which main points to" in answer["text"]
    assert answer["path"].endswith(COMMIT)
    assert actions(answer) == ["try", "train"]
    assert answer["facts"]["num_parameters"] == 64 * 16


@pytest.mark.parametrize("inner", ["", "snapshots", f"snapshots/{COMMIT}"])
def test_each_folder_of_the_cache_is_understood(
    client: TestClient, place: Path, inner: str
) -> None:
    assert ask(client, str(cached(place, model_files()) / inner))["ok"]


def test_a_plain_folder_is_a_model(client: TestClient, place: Path) -> None:
    folder = write_files(place / "tiny", model_files())
    assert ask(client, str(folder))["kind"] == "folder"


def test_missing_shards_can_be_fetched(client: TestClient, place: Path) -> None:
    files = model_files(shards=3)
    del files["model-00002-of-00003.safetensors"]
    answer = ask(client, str(cached(place, files)))
    assert (answer["ok"], answer["kind"]) == (False, "partial")
    assert answer["actions"] == [{"action": "resume", "target": "org/tiny"}]
    assert "model-00002-of-00003.safetensors" in answer["problems"][0]["text"]


def test_pointers_pickles_and_nothing_are_explained(client: TestClient, place: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"
    write_files(place / "lfs", {**model_files(), "model.safetensors": pointer})
    assert "pointer" in ask(client, str(place / "lfs"))["problems"][0]["text"]
    write_files(place / "old", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    assert "pickle" in ask(client, str(place / "old"))["problems"][0]["text"]
    answer = ask(client, str(place / "odl"))
    assert "no such file or folder" in answer["problems"][0]["text"]
    assert "Did you mean old?" in answer["problems"][0]["fix"]


@pytest.mark.parametrize(
    "text",
    ["/etc", "/etc/passwd", "../../../etc", "/proc/self", "a/../../../../etc", "~root/../../etc"],
)
def test_what_lies_outside_the_roots_is_not_looked_at(client: TestClient, text: str) -> None:
    answer = ask(client, text)
    assert answer["kind"] in ("outside", "problem")
    assert "passwd" not in json.dumps(answer["problems"]).replace(text, "")
    assert answer["path"] == ""
    assert actions(answer) == []


def test_a_link_that_leads_out_is_not_followed(client: TestClient, place: Path) -> None:
    (place / "out").symlink_to("/etc")
    assert ask(client, str(place / "out"))["kind"] == "outside"
    answer = client.get("/api/v1/models/browse", params={"path": str(place / "out")})
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/etc", "a\0b", "~no-such-user", "x" * 300])
def test_a_path_that_leads_nowhere_is_not_listed(client: TestClient, path: str) -> None:
    answer = client.get("/api/v1/models/browse", params={"path": path})
    assert (answer.status_code, answer.json()["code"]) in ((403, "forbidden"), (422, "bad_path"))


@pytest.mark.parametrize("text", ["", "  ", "\0", "x" * 300, "word", "a/b/c", "<script>", "demo"])
def test_any_text_gets_an_answer(client: TestClient, text: str) -> None:
    assert ask(client, text)["kind"]


def test_a_hub_repo_says_what_it_costs(client: TestClient, hub: Hub) -> None:
    files = {**model_files(), "pytorch_model.bin": b"x" * 1000}
    hub.add("org/tiny", files)
    answer = ask(client, "https://huggingface.co/org/tiny/tree/main")
    assert (answer["ok"], answer["kind"], actions(answer)) == (True, "hub", ["download"])
    wanted = sum(len(data) for name, data in files.items() if name != "pytorch_model.bin")
    assert answer["facts"]["fetch_bytes"] == wanted
    assert answer["facts"]["num_files"] == 4
    assert answer["facts"]["commit"] == hub.repos["org/tiny"].commit


def test_a_gated_and_an_unknown_repo_are_explained(client: TestClient, hub: Hub) -> None:
    hub.add("org/gated", model_files(), gated=True)
    answer = ask(client, "org/gated")
    assert actions(answer) == ["download", "token"]
    assert answer["problems"][0]["page"] == f"{hub.endpoint}/org/gated"
    assert "no such model" in ask(client, "org/none")["problems"][0]["text"]


def test_a_hub_that_does_not_answer_is_a_sentence(client: TestClient, hub: Hub) -> None:
    hub.fail("/api/models", status=503, times=-1)
    answer = ask(client, "org/tiny")
    assert answer["problems"][0]["code"] == "no_answer"


def test_a_token_is_kept_for_its_owner_alone_and_never_given_back(
    client: TestClient, hub: Hub, home: Path
) -> None:
    secret = "hf_right_and_long_enough"
    source = client.get("/api/v1/downloads/sources").json()["sources"][0]["id"]
    answer = client.put("/api/v1/downloads/token", json={"source": source, "token": secret})
    assert answer.json()["has_token"]
    assert secret not in client.get("/api/v1/downloads/sources").text
    found = [path for path in home.rglob("*") if path.is_file()]
    kept = [path for path in found if secret in path.read_text("latin-1")]
    assert len(kept) == 1
    assert stat.S_IMODE(kept[0].stat().st_mode) == 0o600
    hub.token = secret
    hub.add("org/private", model_files(), private=True)
    job = client.post("/api/v1/downloads", json={"name": "org/private"}).json()
    assert launch.wait(job["id"], 30).status == "done"
    written = [p for p in (home / "jobs").rglob("*") if p.is_file()]
    assert [p for p in written if secret in p.read_text("latin-1")] == []
    refused = client.put("/api/v1/downloads/token", json={"source": "modelscope", "token": "a b"})
    assert refused.status_code == 422


def test_a_download_is_listed_and_becomes_a_model(client: TestClient, hub: Hub) -> None:
    hub.add("org/tiny", model_files())
    answer = client.post("/api/v1/downloads", json={"name": "org/tiny"})
    assert answer.status_code == 201
    job = answer.json()
    assert launch.wait(job["id"], 30).status == "done"
    assert client.get("/api/v1/downloads").json() == {"downloads": []}
    assert client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "done"
    models = {m["name"]: m for m in client.get("/api/v1/models").json()["models"]}
    assert set(models) == {"demo", "org/tiny"}
    assert models["org/tiny"]["ok"]
    assert not models["demo"]["here"]
    polled = client.get("/api/v1/events/poll", params={"topics": f"jobs,job:{job['id']}"}).json()
    kinds = {message["kind"] for message in polled["messages"]}
    assert {"snapshot", "event", "state"} <= kinds


def test_what_is_no_model_is_not_downloaded(client: TestClient) -> None:
    answer = client.post("/api/v1/downloads", json={"name": "/etc/passwd"})
    assert answer.status_code == 403
    assert client.post("/api/v1/downloads", json={"name": "a b"}).status_code == 422
    assert client.get("/api/v1/jobs").json() == {"jobs": []}


def test_a_model_is_removed_and_a_folder_of_yours_is_not(
    client: TestClient, hub: Hub, place: Path
) -> None:
    hub.add("org/tiny", model_files())
    pull("org/tiny", policy=FAST)
    assert client.delete("/api/v1/models/org/tiny").json()["freed_bytes"] > 4000
    assert not hubcache.repo_dir("org/tiny").exists()
    folder = write_files(place / "tiny", model_files())
    assert client.delete(f"/api/v1/models/{folder}").status_code == 422
    assert folder.is_dir()


def test_code_is_allowed_only_as_it_was_shown(client: TestClient, place: Path) -> None:
    config = json.dumps({"model_type": "strange", "auto_map": {"AutoModelForCausalLM": "m.M"}})
    files = {**model_files(), "config.json": config.encode(), "m.py": b"print('hello')\n"}
    folder = write_files(place / "strange", files)
    name = str(folder)
    assert actions(ask(client, name)) == ["allow"]
    code = client.get("/api/v1/models/code", params={"name": name}).json()
    assert code["files"] == [{"name": "m.py", "text": "print('hello')\n"}]
    (folder / "m.py").write_text("print('other')\n")
    consent = {"name": name, "sha256": code["sha256"]}
    assert client.post("/api/v1/models/allow-code", json=consent).status_code == 409
    (folder / "m.py").write_bytes(files["m.py"])
    assert client.post("/api/v1/models/allow-code", json=consent).json() == {"allowed": True}
    assert ask(client, name)["ok"]
    revoked = client.post("/api/v1/models/revoke-code", json={"name": name}).json()
    assert revoked == {"revoked": 1}
    assert not ask(client, name)["ok"]


def test_the_picker_lists_folders_under_the_roots(client: TestClient, place: Path) -> None:
    write_files(place / "tiny", model_files())
    (place / ".hidden").mkdir()
    (place / "notes.txt").write_text("x")
    listing = client.get("/api/v1/models/browse", params={"path": str(place)}).json()
    assert [(e["name"], e["is_model"]) for e in listing["entries"]] == [("tiny", True)]
    roots = client.get("/api/v1/models/browse").json()
    assert roots["parent"] is None
    assert client.get("/api/v1/models/browse", params={"path": "/etc"}).status_code == 403


@pytest.mark.parametrize("job", ["nothing", "..%2f..", "A", "%00"])
def test_an_unknown_job_is_404(client: TestClient, job: str) -> None:
    assert client.get(f"/api/v1/jobs/{job}").status_code == 404
    assert client.post(f"/api/v1/jobs/{job}/stop", json={}).status_code == 404


def test_the_page_shows_models_in_both_languages(client: TestClient, hub: Hub) -> None:
    hub.add("org/<b>tiny", model_files())
    hub.add("org/tiny", model_files())
    pull("org/tiny", policy=FAST)
    text = client.get("/models").text
    assert "org/tiny" in text
    assert "Add a model" in text
    client.cookies.set("tunery_lang", "zh")
    assert "添加模型" in client.get("/models").text
    assert client.get("/models/org/tiny").status_code == 200


def test_an_empty_machine_gets_suggestions(client: TestClient, hub: Hub) -> None:
    text = client.get("/models").text
    assert "No models yet" in text
    assert "demo" in text


def search(client: TestClient, words: str, **more: str) -> Any:
    return client.get("/api/v1/models/search", params={"q": words, **more})


def test_a_hub_is_searched_by_words(
    client: TestClient, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub.add("org/Small-Chat", model_files(), gated=True)
    hub.add("org/other", model_files())
    found = search(client, "small").json()["models"]
    assert [(m["name"], m["downloads"], m["gated"]) for m in found] == [
        ("org/Small-Chat", 12_345, True)
    ]
    assert search(client, "nothing of it").json()["models"] == []
    assert "search=nothing+of+it" in hub.log[-1].path
    before = len(hub.log)
    assert search(client, "  ").json()["models"] == []
    assert len(hub.log) == before


def test_a_search_that_cannot_be_says_why(
    client: TestClient, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in search(client, "small").json()["detail"]
    assert hub.log == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub.fail("/api/models", status=403)
    assert "refused the search (HTTP 403)" in search(client, "small").json()["detail"]
    hub.fail("/api/models", html=True)
    assert "not a model hub" in search(client, "small").json()["detail"]
    asked = len(hub.log)
    told = search(client, "small", source="modelscope").json()
    assert "is not supported" in told["detail"]
    assert len(hub.log) == asked


def test_the_base_of_a_run_is_asked_for_and_named(client: TestClient, home: Path) -> None:
    base = make_chat_model(home / "models" / "old")
    folder = write_run("good")
    adapter(base, folder.adapter_dir)
    write_json(folder.card_file, {**folder.card(), "model": str(base)})
    bases.record(folder.path, base)
    now = base.rename(home / "models" / "new")
    told = client.post("/api/v1/serving", json={"model": "good"}).json()
    assert (told["code"], told["params"]["owner"]) == ("base_missing", "good")
    wrong = client.post("/api/v1/models/base", json={"name": "good", "model": str(base)})
    assert wrong.status_code == 422
    named = client.post("/api/v1/models/base", json={"name": "good", "model": str(now)})
    assert named.json()["base"] == str(now)
    assert client.post("/api/v1/serving", json={"model": "good"}).is_success
    outside = client.post("/api/v1/models/base", json={"name": "good", "model": "/etc"})
    assert outside.status_code == 403
