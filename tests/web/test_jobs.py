"""Jobs: real processes that outlive who started them, and whose state is read from the folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import waiting
from tests.hub import Hub, model_files
from tests.limits import data_limit, has_gpu

from tunery import memory
from tunery.errors import LaunchError, UnknownName
from tunery.jobs import folder as jobs
from tunery.jobs import start as launch
from tunery.jobs.folder import Job, JobFolder
from tunery.services import models
from tunery.workers.folder import read_json, write_json
from tunery.workers.log import read_events
from tunery.workers.process import WorkerFile

FAST = {"attempts": 3, "first_delay_seconds": 0.01, "max_delay_seconds": 0.02}
BIG = 120_000  # rows of 64 bytes: a file of 7.7 MB


@pytest.fixture(autouse=True)
def no_one_left(home: Path) -> Iterator[None]:
    """End what a failing test leaves behind."""
    yield
    for job in jobs.listing():
        if job.is_live:
            launch.stop(job.id, grace_seconds=0)


def until(job_id: str, condition: Callable[[Job], object]) -> Job:
    """Look until the job is as wanted."""

    def look() -> Job | None:
        job = jobs.show(job_id)
        if condition(job):
            return job
        assert job.status != "failed", job
        return None

    return waiting.until(look)


def over(job: Job) -> Job:
    return until(job.id, lambda now: not now.is_live or now.status == "failed")


def begin(name: str, **more: float) -> Job:
    return models.start_download(name, policy={**FAST, **more})


HELD = 600_000


def hold(hub: Hub, name: str, **more: Any) -> Job:
    """Begin a download that gets ``HELD`` bytes of its weights and then waits for the hub."""
    hub.add(name, model_files(rows=BIG, **more))
    hub.fail(f"{name}/model.safetensors/", cut_after=HELD)
    hub.fail(f"{name}/model.safetensors/", status=503, times=-1)
    job = begin(name, attempts=10_000)
    return until(job.id, lambda now: now.progress.get("phase") == "waiting")


def kill(job: Job) -> None:
    os.kill(until(job.id, lambda now: now.pid is not None).pid or 0, signal.SIGKILL)


def test_a_download_ends_with_its_result_and_leaves_its_story(hub: Hub) -> None:
    hub.add("org/tiny", model_files())
    job = over(begin("org/tiny"))
    assert (job.status, job.title, job.kind) == ("done", "org/tiny", "download")
    assert job.result is not None
    assert Path(job.result["path"]).is_dir()
    progress = job.progress
    assert progress["done"] == progress["total"] > 0
    assert progress["files_done"] == progress["num_files"] == len(model_files())
    events, _ = read_events(jobs.open_job(job.id).events_file)
    assert [e["status"] for e in events if e["type"] == "status"] == ["running", "done"]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))


def test_a_job_is_in_a_session_of_its_own_and_outlives_its_starter(hub: Hub) -> None:
    hub.add("org/tiny", model_files(rows=BIG))
    hub.fail("/api/models", status=503, times=-1)
    code = (
        "from tunery.services import models;"
        "policy = {'attempts': 10000, 'max_delay_seconds': 0.05};"
        "print(models.start_download('org/tiny', policy=policy).id, flush=True);"
        "import os, signal; os.kill(0, signal.SIGKILL)"
    )
    starter = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True
    )
    assert starter.returncode == -signal.SIGKILL
    job = jobs.show(starter.stdout.strip())
    pid = until(job.id, lambda now: now.pid).pid or 0
    assert os.getsid(pid) == pid
    until(job.id, lambda _: has_gpu() or data_limit(pid) == memory.total_bytes())
    hub.faults.clear()
    assert over(job).status == "done"


def test_what_was_asked_is_refused_with_the_services_own_words(hub: Hub) -> None:
    hub.add("org/gated", model_files(), gated=True)
    job = over(begin("org/gated"))
    assert job.status == "failed"
    assert "accept their terms" in job.reason
    assert f"{hub.endpoint}/org/gated" in job.fix
    assert job.error["code"] == "gated"
    assert job.error["page"] == f"{hub.endpoint}/org/gated"


def test_a_pause_keeps_what_came_and_resume_goes_on_at_that_byte(hub: Hub) -> None:
    job = hold(hub, "org/tiny")
    assert launch.pause(job.id).status == "paused"
    assert jobs.show(job.id).pid is None
    hub.faults.clear()
    launch.resume(job.id)
    assert over(job).status == "done"
    assert hub.asked("org/tiny/model.safetensors/")[-1].headers["Range"] == f"bytes={HELD}-"
    weights = hub.repos["org/tiny"].files["model.safetensors"]
    sent = [r.sent for r in hub.asked("model.safetensors/") if r.sent > len(b"no")]
    assert sum(sent) == len(weights)


def test_a_killed_job_is_interrupted_and_goes_on_where_it_was(hub: Hub) -> None:
    job = hold(hub, "org/tiny")
    kill(job)
    ended = over(job)
    assert ended.status == "interrupted"
    assert "signal 9" in ended.reason
    hub.faults.clear()
    again = models.start_download("org/tiny", policy=FAST)
    assert again.id == job.id
    assert over(again).status == "done"
    assert hub.asked("org/tiny/model.safetensors/")[-1].headers["Range"] == f"bytes={HELD}-"


def test_a_lost_network_is_waited_for(hub: Hub) -> None:
    hub.add("org/tiny", model_files())
    hub.fail("/api/models", status=503, times=-1)
    job = begin("org/tiny", attempts=1000, first_delay_seconds=0.05, max_delay_seconds=0.2)
    waiting = until(job.id, lambda now: now.progress.get("phase") == "waiting")
    assert waiting.status == "running"
    assert waiting.progress["retry_at"] > 0
    hub.faults.clear()
    assert over(job).status == "done"


def test_giving_up_removes_the_parts(hub: Hub) -> None:
    job = hold(hub, "org/tiny")
    assert models.cancel_download(job.id) == HELD
    assert models.downloads() == []
    with pytest.raises(UnknownName):
        jobs.show(job.id)


def test_two_downloads_of_one_model_are_one_job(hub: Hub) -> None:
    first, second = hold(hub, "org/tiny"), begin("org/tiny")
    assert first.id == second.id
    launch.stop(first.id)


def test_jobs_of_a_kind_wait_for_each_other(hub: Hub) -> None:
    first = [hold(hub, f"org/m{number}", fill=number) for number in range(3)]
    hub.add("org/m3", model_files())
    last = begin("org/m3")
    queued = until(last.id, lambda now: now.reason)
    assert (queued.status, queued.reason) == ("queued", "waiting for earlier jobs")
    launch.stop(first[0].id)
    assert over(last).status == "done"
    for job in first[1:]:
        launch.stop(job.id)


def test_the_listing_is_newest_first_and_old_ones_are_forgotten(home: Path) -> None:
    for number in range(5):
        folder = jobs.create("download", {}, f"m{number}")
        write_json(folder.job_file, {**read_json(folder.job_file), "created": time.time() + number})
    assert [job.title for job in jobs.listing()] == ["m4", "m3", "m2", "m1", "m0"]
    assert {job.status for job in jobs.listing()} == {"interrupted"}
    jobs.forget_old(keep=2, seconds=float("inf"))
    assert [job.title for job in jobs.listing()] == ["m4", "m3"]


def test_a_reused_pid_is_no_job(home: Path) -> None:
    folder = jobs.create("download", {}, "m")
    WorkerFile(folder).write(pid=os.getpid())
    assert jobs.derive(folder).is_live
    who = json.loads(folder.worker_file.read_text())
    write_json(folder.worker_file, {**who, "start_time": 1.0})
    assert jobs.derive(folder).status == "interrupted"


@pytest.mark.parametrize("name", ["../runs", "", "a/b", "x" * 80, "..", "A", "a\0b", "nothing"])
def test_an_id_that_is_none_opens_nothing(home: Path, name: str) -> None:
    with pytest.raises(UnknownName):
        jobs.open_job(name)


def test_a_torn_last_line_is_left_out(home: Path) -> None:
    folder = JobFolder(jobs.create("download", {}, "m").path)
    folder.events_file.write_text(
        '{"seq":1,"time":1,"clock":1,"type":"status","status":"done"}\n{"seq":2,"ty'
    )
    assert jobs.derive(folder).status == "done"


def test_what_is_done_is_not_gone_on_with(hub: Hub) -> None:
    hub.add("org/tiny", model_files())
    job = over(begin("org/tiny"))
    with pytest.raises(LaunchError, match="this job cannot be resumed"):
        launch.resume(job.id)
