"""/api/v1/runs: everything a page asks about runs, over HTTP."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from tests.waiting import until

from tunery.config.config import Config
from tunery.runs import store
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create
from tunery.runs.status import derive
from tunery.workers import local
from tunery.workers.process import Control

FAKE = Path(__file__).parents[1] / "fake_worker.py"


def write_run(name: str, *, steps: int = 20, status: str = "finished") -> RunFolder:
    folder = create(name, Config(), {"tunery": "0"})
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=1)
        writer.write("phase", phase="model", state="begin")
        writer.write("phase", phase="model", state="end", seconds=1.5)
        writer.write("plan", num_steps=steps, trained_parameters=1, total_parameters=2)
        writer.write("sample", step=0, stage="before", prompt="Who?", answer="I am a bot.")
        for step in range(1, steps + 1):
            writer.write("step", step=step, epoch=step / 10, loss=2 / step, learning_rate=1e-3,
                         grad_norm=1.0, tokens=10, seconds=0.1)  # fmt: skip
        writer.write("eval", step=steps, loss=0.5, best=True)
        writer.write("sample", step=steps, stage="after", prompt="Who?", answer="I am Tuna.")
        if status:
            writer.write("status", status=status, reason="loss is nan", fix="Lower the rate.")
    folder.worker_log.write_text("one\ntwo\nValueError: three\n")
    return folder


def test_the_list_has_filters_and_pages(client) -> None:
    write_run("good")
    write_run("bad", status="failed")
    found = client.get("/api/v1/runs").json()
    assert found["total"] == 2
    assert found["counts"] == {"running": 0, "done": 1, "failed": 1}
    only = client.get("/api/v1/runs", params={"status": "failed"}).json()["runs"]
    assert [run["name"] for run in only] == ["bad"]
    assert (only[0]["best_value"], only[0]["best_measure"]) == (0.5, "loss")
    assert client.get("/api/v1/runs", params={"q": "goo"}).json()["total"] == 1
    assert client.get("/api/v1/runs", params={"page": 0}).status_code == 422


def test_one_run_is_told_whole(client) -> None:
    write_run("bad", status="failed")
    told = client.get("/api/v1/runs/bad").json()
    assert told["status"] == "failed"
    assert told["failure"]["sentence"].startswith("Run bad failed at step 20: loss is nan")
    assert told["failure"]["lines"][-1] == "ValueError: three"
    assert next(p for p in told["phases"] if p["key"] == "model")["seconds"] == 1.5
    samples = client.get("/api/v1/runs/bad/samples").json()["samples"]
    assert [a["stage"] for a in samples[0]["answers"]] == ["before", "after"]


def test_no_such_run_is_404_with_the_nearest_name(client) -> None:
    write_run("good")
    for path in ("", "/metrics", "/events", "/log", "/checkpoints", "/samples", "/report"):
        answer = client.get(f"/api/v1/runs/goood{path}")
        assert answer.status_code == 404, path
        assert "good" in answer.json()["fix"]


def test_metrics_are_incremental_and_named_by_step(client) -> None:
    write_run("good", steps=50)
    first = client.get("/api/v1/runs/good/metrics").json()
    assert first["last"] == 50
    more = client.get("/api/v1/runs/good/metrics", params={"after": 48}).json()
    assert more["series"]["loss"]["step"] == [49, 50]
    thin = client.get("/api/v1/runs/good/metrics", params={"max_points": 10, "keys": "loss"}).json()
    assert list(thin["series"]) == ["loss"]
    assert len(thin["series"]["loss"]["step"]) <= 10
    assert thin["series"]["loss"]["step"][-1] == 50


@pytest.mark.parametrize("limit", [1024, 1500, 4096])
def test_the_cursor_of_events_gives_each_line_once(client, limit) -> None:
    folder = write_run("good", steps=60)
    with EventWriter(folder.events_file) as writer:
        writer.write("sample", step=60, stage="after", prompt="long", answer="x" * 9000)
    with folder.events_file.open("ab") as file:
        file.write(b'{"seq": 9999, "type": "st')  # being written at this moment
    cursor, seen = 0, []
    while True:
        answer = client.get("/api/v1/runs/good/events",
                            params={"after": cursor, "limit_bytes": limit}).json()  # fmt: skip
        seen += [event["seq"] for event in answer["events"]]
        cursor = answer["cursor"]
        if not answer["events"]:
            break
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) == 69
    assert not answer["more"]


def test_a_deleted_run_can_be_undone(client) -> None:
    folder = write_run("good")
    client.patch("/api/v1/runs/good", json={"title": "The good one"})
    before = folder.events_file.read_bytes()
    gone = client.delete("/api/v1/runs/good").json()
    assert gone["bytes"] > 0
    assert client.get("/api/v1/runs/good").status_code == 404
    assert client.get("/api/v1/runs").json()["total"] == 0
    assert client.post("/api/v1/runs/undo", json={"tokens": gone["tokens"]}).json() == {
        "restored": ["good"]
    }
    assert folder.events_file.read_bytes() == before
    assert client.get("/api/v1/runs/good").json()["title"] == "The good one"
    assert client.post("/api/v1/runs/undo", json={"tokens": gone["tokens"]}).status_code == 404


def test_after_the_time_to_undo_a_run_is_gone(client, home) -> None:
    write_run("good")
    token = client.delete("/api/v1/runs/good").json()["tokens"][0]
    store.sweep(now=time.time() + 25)
    assert (home / "runs" / token).exists()
    store.sweep(now=time.time() + 60)
    assert not (home / "runs" / token).exists()
    assert client.post("/api/v1/runs/undo", json={"tokens": [token]}).status_code == 404


@pytest.mark.parametrize("token", ["../../etc", ".undo-x-1/../..", ".trash-a-1", "good", ""])
def test_undo_takes_no_other_path(client, token) -> None:
    write_run("good")
    answer = client.post("/api/v1/runs/undo", json={"tokens": [token]})
    assert answer.status_code in (404, 422)


def test_titles_tags_pins_and_one_baseline(client) -> None:
    for name in ("a", "b"):
        write_run(name)
    client.patch("/api/v1/runs/a", json={"baseline": True, "tags": ["x", " x ", "y"]})
    client.patch("/api/v1/runs/b", json={"baseline": True, "pinned": True})
    runs = {run["name"]: run for run in client.get("/api/v1/runs").json()["runs"]}
    assert (runs["a"]["baseline"], runs["b"]["baseline"]) == (False, True)
    assert runs["a"]["tags"] == ["x", "y"]
    assert client.get("/api/v1/runs").json()["runs"][0]["name"] == "b"
    assert client.patch("/api/v1/runs/a", json={"title": "x" * 200}).status_code == 422
    assert client.patch("/api/v1/runs/none", json={"pinned": True}).status_code == 404


def test_the_log_is_read_on_by_its_cursor(client) -> None:
    folder = write_run("good")
    first = client.get("/api/v1/runs/good/log").json()
    assert first["lines"] == ["one", "two", "ValueError: three"]
    with folder.worker_log.open("a") as file:
        file.write("10%\r50%\r100%\nhalf a li")
    more = client.get("/api/v1/runs/good/log", params={"after": first["cursor"]}).json()
    assert more["lines"] == ["100%"]
    folder.worker_log.write_text("rotated\n")
    again = client.get("/api/v1/runs/good/log", params={"after": more["cursor"]}).json()
    assert again["lines"] == ["rotated"]
    assert client.get("/api/v1/runs/good/log/file").text == "rotated\n"


def test_a_running_run_is_stopped_both_ways(client) -> None:
    for how, kind, last in (("save", "wait", "stopped"), ("now", "deaf", "stopped")):
        run = create(f"run-{how}", Config(), {})
        local.start(run, argv=[sys.executable, str(FAKE), str(run.path), kind])
        until(lambda run=run: derive(run).status == "running")
        client.post(f"/api/v1/runs/{run.name}/save", json={})
        assert Control(run).save_requested()
        assert client.delete(f"/api/v1/runs/{run.name}").status_code == 409
        client.post(f"/api/v1/runs/{run.name}/stop", json={"how": how})
        until(lambda run=run: not derive(run).is_live)
        assert derive(run).status == last
        assert client.post(f"/api/v1/runs/{run.name}/stop", json={}).status_code == 422


def test_runs_are_compared(client) -> None:
    write_run("a", steps=10)
    write_run("b", steps=30)
    client.patch("/api/v1/runs/a", json={"baseline": True})
    told = client.get("/api/v1/runs/compare", params={"ids": "b,a"}).json()
    assert [run["name"] for run in told["runs"]] == ["b", "a"]
    assert told["baseline"] == 1
    loss = next(line for line in told["results"] if line["key"] == "loss")
    assert loss["best"] == [0]
    assert loss["deltas"][1] is None
    assert loss["deltas"][0] == pytest.approx(loss["values"][0] - loss["values"][1])
    assert told["prompts"][0] == {"prompt": "Who?", "before": "I am a bot.",
                                  "answers": ["I am Tuna.", "I am Tuna."]}  # fmt: skip
    for ids in ("a", "a,a", ",".join("abcdefg")):
        assert client.get("/api/v1/runs/compare", params={"ids": ids}).status_code == 422


def test_the_report_of_a_failure_has_no_secret(client) -> None:
    folder = write_run("bad", status="failed")
    folder.worker_log.write_text("token hf_abcdefghijklmnopqrstuvwxyz012345\nlast words\n")
    text = client.get("/api/v1/runs/bad/report").text
    assert "loss is nan" in text
    assert "last words" in text
    assert "hf_abcdefgh" not in text


def test_the_queue_and_the_messages_have_their_routes(client) -> None:
    assert client.get("/api/v1/queue").json() == {"waiting": [], "held": {}}
    assert client.post("/api/v1/queue/order", json={"runs": ["nobody"]}).status_code == 422
    shown = client.put("/api/v1/notify", json={"webhook": "https://a.example/hook/SECRET"})
    assert "SECRET" not in shown.text
    assert "SECRET" not in client.get("/api/v1/notify").text
    assert client.put("/api/v1/notify", json={"power_off_on": True}).status_code == 422
    refused = client.put("/api/v1/notify", json={"power_off": ["rm"]})
    assert (refused.status_code, client.get("/api/v1/notify").json()["power_off"]) == (422, [])
    assert client.post("/api/v1/notify/keep-on", json={}).status_code == 422


def test_everything_here_is_behind_the_token(anonymous) -> None:
    write_run("good")
    for path in ("", "/good", "/good/metrics", "/good/log/file", "/compare?ids=a,b"):
        assert anonymous.get(f"/api/v1/runs{path}").status_code == 401
    assert json.loads(anonymous.get("/api/v1/queue").text)["status"] == 401


def test_events_of_a_log_have_their_times_in_order(client):
    write_run("x")
    answer = client.get("/api/v1/runs/x/log").json()
    assert answer["events"]
    assert len(answer["times"]) == len(answer["events"])
    assert answer["times"] == sorted(answer["times"])
