"""Over REST with a real tiny model: a killed run goes on, and a draft is measured."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.chat_model import make_chat_model
from tests.steps import step_history
from tests.train import tiny
from tests.waiting import PATIENCE_SECONDS, until

from tunery.runs import manifest, verify
from tunery.runs.status import derive
from tunery.services import runs
from tunery.workers import local
from tunery.workers.process import WorkerFile


@pytest.fixture
def model(home: Path) -> Path:
    return make_chat_model(home / "models" / "tiny")


def test_a_killed_run_goes_on_from_its_page(client: TestClient, home: Path, model: Path) -> None:
    data = tiny.chats(home / "chats.jsonl")
    folder = tiny.prepared(
        "killed", model, data, train={"num_epochs": 30}, evaluate={"every": "never"}
    )
    runs.start(folder)
    until(lambda: manifest.list_checkpoints(folder.checkpoints_dir))
    who = WorkerFile(folder).read()
    assert who["role"] == "worker"
    os.kill(who["pid"], signal.SIGKILL)
    until(lambda: not derive(folder).is_live)
    told = client.get("/api/v1/runs/killed").json()
    assert told["status"] == "interrupted"
    assert told["failure"]["can_resume"]
    newest, _ = manifest.newest_valid(folder.checkpoints_dir)
    assert newest is not None
    step = manifest.step_of(newest)
    assert f"Resume from step {step}" in client.get("/runs/killed/-/parts").text
    assert client.post("/api/v1/runs/killed/resume", json={}).json()["step"] == step
    until(lambda: not derive(folder).is_live)
    assert derive(folder).status == "finished", folder.worker_log.read_text()
    steps = [event["step"] for event in step_history(tiny.events(folder.path))]
    assert steps == list(range(1, (derive(folder).num_steps or 0) + 1))
    local.wait_until_gone(folder, PATIENCE_SECONDS)  # the worker's parent ends after it
    assert [f.text for f in verify.check_run(folder) if not f.ok] == []
    again = client.post("/api/v1/runs/killed/resume", json={})
    assert again.status_code == 422
    assert "is finished" in again.json()["detail"]


def test_a_draft_is_measured_in_the_warm_process(
    client: TestClient, home: Path, model: Path, own_pool: None
) -> None:
    fields = {"model.name": str(model), "data.train": [str(tiny.chats(home / "chats.jsonl"))]}
    client.put("/api/v1/drafts/d", json={"fields": fields, "plan": False})
    guessed = client.post("/api/v1/drafts/d/plan", json={}).json()["plan"]
    assert not guessed["memory"]["measured"]
    assert guessed["seconds"] is None
    measured = client.post("/api/v1/drafts/d/plan", json={"measure": True}).json()["plan"]
    assert measured["memory"]["measured"]
    assert measured["speed"]["from"] == "measured"
    assert measured["seconds"] > 0
    assert client.get("/api/v1/runs").json()["total"] == 0  # its folder was thrown away
