"""Measuring a draft is a job: it tells how far it is, can be cancelled, and has no time limit."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient
from tests.chat_model import make_chat_model
from tests.train import tiny
from tests.waiting import until

from tunery.jobs import folder as jobs
from tunery.jobs import start as launching
from tunery.workers.log import read_events


def draft(client: TestClient, home: Path) -> None:
    model = make_chat_model(home / "mine" / "tiny")
    data = tiny.chats(home / "mine" / "chats.jsonl")
    fields = {"model.name": str(model), "data.train": [str(data)], "train.batch_size": "2"}
    answer = client.put("/api/v1/drafts/draft", json={"fields": fields, "plan": False})
    assert answer.json()["errors"] == {}


def test_a_measurement_tells_its_steps_and_gives_the_plan(home: Path, client: TestClient) -> None:
    draft(client, home)
    job = client.post("/api/v1/drafts/draft/measure").json()
    launching.wait(job["id"], 240)
    ended = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert ended["status"] == "done", ended
    assert ended["result"]["plan"]["memory"]["measured"] is True
    assert ended["result"]["plan"]["speed"]["from"] == "measured"
    assert ended["result"]["plan"]["seconds"] > 0
    assert "remarks" in ended["result"]
    told, _ = read_events(jobs.open_job(job["id"]).events_file)
    steps = [e["done"] for e in told if e["type"] == "progress" and e["unit"] == "steps"]
    assert steps[-1] == 5
    assert {e["total"] for e in told if e["type"] == "progress"} == {5}


def test_a_measurement_can_be_cancelled(home: Path, client: TestClient) -> None:
    draft(client, home)
    job = client.post("/api/v1/drafts/draft/measure").json()
    until(lambda: jobs.derive(jobs.open_job(job["id"])).status == "running")
    ended = client.post(f"/api/v1/jobs/{job['id']}/stop").json()
    assert ended["status"] == "stopped"
    assert list((home / "cache").glob("plan-*")) == []


def test_what_cannot_be_measured_says_why(home: Path, client: TestClient) -> None:
    assert client.post("/api/v1/drafts/nope/measure").status_code == 404
