"""Starting, queueing, stopping and losing workers, with real processes."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import waiting
from tests.waiting import PATIENCE_SECONDS

from tunery.config.config import Config
from tunery.errors import RunError
from tunery.runs.device import DeviceLock
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create
from tunery.runs.status import RunStatus, derive
from tunery.services import runs as lifecycle
from tunery.workers import local
from tunery.workers.environment import worker_env
from tunery.workers.folder import write_json
from tunery.workers.log import read_events
from tunery.workers.process import (
    BOOT_ID_FILE,
    Control,
    WorkerFile,
    boot_id,
    session_members,
    start_time,
)
from tunery.workers.supervisor import rotate

FAKE = Path(__file__).parents[1] / "fake_worker.py"


@pytest.fixture
def started(home: Path) -> Iterator[list[RunFolder]]:
    """Runs of this test; whatever still lives at its end is a failure, and is ended."""
    runs: list[RunFolder] = []
    yield runs
    left = [run.name for run in runs if derive(run).is_live]
    for run in runs:
        local.stop(run, grace_seconds=0.0)
    assert not left, f"still alive: {left}"


def prepared(name: str | None = None) -> RunFolder:
    return create(name, Config(), {"created": 1.0})


def begin(run: RunFolder, how: str, *more: str) -> int:
    return local.start(run, argv=[sys.executable, str(FAKE), str(run.path), how, *more])


def until(run: RunFolder, condition) -> RunStatus:
    """Look until the state is as wanted."""

    def look() -> RunStatus | None:
        return state if condition(state := derive(run)) else None

    return waiting.until(look)


def test_a_run_that_ends_well_is_finished(started) -> None:
    run = prepared()
    started.append(run)
    begin(run, "finish", "5")
    assert local.wait_until_gone(run, PATIENCE_SECONDS)
    state = derive(run)
    assert (state.status, state.step, state.num_steps, state.loss) == ("finished", 5, 5, 0.2)
    assert json.loads(run.exit_file.read_text())["code"] == 0


def test_a_worker_writes_its_errors_to_the_log_and_reads_no_input(started) -> None:
    run = prepared()
    started.append(run)
    code = "import sys; print(repr(sys.stdin.read())); sys.exit('on stderr')"
    local.start(run, argv=[sys.executable, "-c", code])
    assert local.wait_until_gone(run, PATIENCE_SECONDS)
    assert run.worker_log.read_text() == "''\non stderr\n"


@pytest.mark.parametrize(
    ("how", "kill", "status", "cause"),
    [
        ("wait", signal.SIGKILL, "interrupted", "signal 9 (often out of memory)"),
        ("crash", None, "interrupted", "crashed in native code with signal 11 (SIGSEGV)"),
        ("late", None, "interrupted", "exited with status 3; its log ends with: the last words"),
        ("fail", None, "failed", "loss is nan"),
        ("wait", signal.SIGINT, "interrupted", "signal 2 (SIGINT)"),
    ],
)
def test_the_cause_of_an_end_is_told(started, how, kill, status, cause) -> None:
    run = prepared("cause")
    started.append(run)
    pid = begin(run, how)
    if kill:
        until(run, lambda s: s.step == 1)
        os.kill(pid, kill)
    assert local.wait_until_gone(run, PATIENCE_SECONDS)
    state = derive(run)
    assert state.status == status
    assert cause in state.reason
    assert state.step == 1
    if status == "interrupted":
        assert state.fix == "Resume it: tunery runs resume cause"


def test_the_worker_goes_on_when_its_parents_are_killed(started) -> None:
    run = prepared()
    started.append(run)
    code = (
        "import sys, time; from pathlib import Path; from tunery.workers import local;"
        "from tunery.runs.folder import RunFolder;"
        f"command = {[sys.executable, str(FAKE), str(run.path), 'wait']!r};"
        f"local.start(RunFolder(Path({str(run.path)!r})), argv=command);"
        "print('started', flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    who = WorkerFile(run).read()
    os.killpg(os.getpgid(who["supervisor"]), signal.SIGHUP)
    os.kill(who["supervisor"], signal.SIGKILL)
    os.kill(who["pid"], signal.SIGHUP)
    state = until(run, lambda s: s.step == 1)
    assert (state.status, state.pid) == ("running", who["pid"])
    assert local.stop(run, grace_seconds=PATIENCE_SECONDS)
    assert derive(run).status == "stopped"


def test_a_lost_worker_whose_end_nobody_saw_is_interrupted(started) -> None:
    run = prepared()
    started.append(run)
    begin(run, "wait")
    until(run, lambda s: s.step == 1)
    who = WorkerFile(run).read()
    os.kill(who["supervisor"], signal.SIGKILL)
    os.kill(who["pid"], signal.SIGKILL)
    state = until(run, lambda s: not s.is_live)
    assert state.status == "interrupted"
    assert (
        "the worker disappeared without a message (the machine or container may have killed it"
        in state.reason
    )


def test_a_reboot_and_a_reused_pid_are_not_mistaken_for_the_worker(started) -> None:
    run = prepared()
    started.append(run)
    who = {"pid": os.getpid(), "role": "worker", "start_time": start_time(os.getpid())}
    write_json(run.worker_file, {**who, "boot_id": "another boot"})
    state = derive(run)
    assert state.status == "interrupted"
    assert state.reason == "the machine restarted during the run"
    write_json(run.worker_file, {**who, "boot_id": boot_id(), "start_time": 1.0})
    assert derive(run).status == "interrupted"
    write_json(run.worker_file, {**who, "boot_id": boot_id()})
    assert derive(run).status == "queued"
    run.worker_file.unlink()
    assert "never started" in derive(run).reason
    assert BOOT_ID_FILE.exists()


def test_twenty_starts_on_one_device_give_one_running_and_a_queue_in_order(started) -> None:
    runs = [prepared(f"r{n:02}") for n in range(20)]
    started += runs
    begin(runs[0], "wait")
    until(runs[0], lambda s: s.status == "running")
    threads = [threading.Thread(target=begin, args=(run, "finish", "1")) for run in runs[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs[1:]:
        state = until(run, lambda s: s.status == "queued" and "in use by" in s.reason)
        assert "waiting for cpu: in use by run r00" in state.reason
    assert derive(runs[0]).status == "running"
    assert local.stop(runs[0], grace_seconds=PATIENCE_SECONDS)
    for run in runs[1:]:
        until(run, lambda s: s.status == "finished")
        assert local.wait_until_gone(run, PATIENCE_SECONDS)
    spans = sorted(_held(run) for run in runs)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert not DeviceLock("cpu").held()


def _held(run: RunFolder) -> tuple[float, float]:
    """From when to when a run had the device, by its events."""
    events = [e for e in read_events(run.events_file)[0] if e.get("status") != "queued"]
    return events[0]["clock"], events[-1]["clock"]


def test_a_queued_run_can_be_stopped(started) -> None:
    runs = [prepared("first"), prepared("second")]
    started += runs
    begin(runs[0], "wait")
    until(runs[0], lambda s: s.status == "running")
    begin(runs[1], "finish")
    until(runs[1], lambda s: "in use by run first" in s.reason)
    assert local.stop(runs[1], grace_seconds=PATIENCE_SECONDS)
    assert derive(runs[1]).status == "stopped"
    assert local.stop(runs[0], grace_seconds=PATIENCE_SECONDS)


def test_starting_one_run_many_times_at_once_starts_one_worker(started) -> None:
    run = prepared("once")
    started.append(run)
    results: list[object] = []

    def try_start() -> None:
        try:
            results.append(begin(run, "wait"))
        except RunError as error:
            results.append(error.message)

    threads = [threading.Thread(target=try_start) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("Run once is already running.") == 9
    until(run, lambda s: s.step == 1)
    assert local.stop(run, grace_seconds=PATIENCE_SECONDS)
    assert [e["seq"] for e in read_events(run.events_file)[0]] == list(range(1, 6))


def test_a_worker_that_does_not_hear_is_killed_with_all_its_children(started) -> None:
    run = prepared()
    started.append(run)
    pid = begin(run, "deaf")
    until(run, lambda s: s.step == 1)
    assert len(session_members(pid)) == 2
    assert not local.stop(run, grace_seconds=0.1)
    assert session_members(pid) == []
    state = derive(run)
    assert state.status == "interrupted"
    assert "did not save within the grace" in state.reason


def test_a_run_that_is_stopped_at_once_says_that_and_no_more(started) -> None:
    run = prepared()
    started.append(run)
    begin(run, "deaf")
    until(run, lambda s: s.step == 1)
    assert not local.stop(run, grace_seconds=0.0)
    state = derive(run)
    assert state.status == "stopped"
    assert state.reason == "stopped immediately as requested, without saving"
    assert state.fix == f"Resume it: tunery runs resume {run.name}"
    Control(run).clear()  # what a resume does first
    assert not Control(run).was_killed()


@pytest.mark.parametrize("taken", ["deleted", "moved"])
def test_a_worker_whose_folder_is_gone_ends_with_its_children_and_frees_the_device(
    started, taken, tmp_path
) -> None:
    run = prepared("gone")
    pid = begin(run, "deaf", "1")
    until(run, lambda s: s.step == 1)
    waiting.until(lambda: len(session_members(pid)) == 2)
    if taken == "deleted":
        shutil.rmtree(run.path)
    else:
        run.path.rename(tmp_path / "elsewhere")
    waiting.until(lambda: not session_members(pid))
    with DeviceLock("cpu", run="next"):
        pass
    assert not run.path.exists()
    error = lifecycle.failure(lifecycle.outcome(run).state)
    assert error is not None
    assert "its folder was deleted or moved" in error.message
    assert str(run.path) in error.fix


def test_a_second_attempt_does_not_inherit_the_end_of_the_first(started) -> None:
    run = prepared()
    started.append(run)
    begin(run, "fail")
    assert local.wait_until_gone(run, PATIENCE_SECONDS)
    assert derive(run).status == "failed"
    with run.events_file.open("ab") as file:
        file.write(b'{"seq": 99, "torn')
    begin(run, "wait")
    until(run, lambda s: s.status == "running" and s.step == 1)
    assert local.stop(run, grace_seconds=PATIENCE_SECONDS)
    assert derive(run).status == "stopped"
    seqs = [e["seq"] for e in read_events(run.events_file)[0]]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_run_lasted_as_long_as_all_its_attempts_but_not_the_time_between(
    started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(folder: str, **_: object) -> list[str]:
        return [sys.executable, str(FAKE), folder, "wait"]

    monkeypatch.setattr("tunery.services.runs._lifecycle.run_command", fake)
    run = prepared()
    started.append(run)
    lasted: list[float] = []
    for attempt in range(3):
        lifecycle.start(run)
        state = until(run, lambda s: s.status == "running" and s.step == 1)
        assert 100 * attempt <= (state.duration_seconds or 0) < 100 * attempt + PATIENCE_SECONDS
        assert local.stop(run, grace_seconds=PATIENCE_SECONDS)
        # As if the attempt had taken 100 seconds more, and its clock were another boot's.
        *before, last = run.events_file.read_text().splitlines()
        event = json.loads(last)
        event["clock"] += 100
        run.events_file.write_text("\n".join([*before, json.dumps(event)]) + "\n")
        lasted.append(derive(run).duration_seconds or 0)
        assert 100 * (attempt + 1) <= lasted[-1] < 100 * (attempt + 1) + PATIENCE_SECONDS
    begun = {"events_offset": run.events_file.stat().st_size, "seconds_before": lasted[-1]}
    write_json(run.worker_file, {**WorkerFile(run).read(), **begun})
    assert derive(run).duration_seconds == lasted[-1]  # an attempt that has said nothing yet


def test_a_worker_sees_no_secrets_and_no_hub() -> None:
    secrets = {"HF_TOKEN": "hf_x", "AWS_SECRET_ACCESS_KEY": "x", "TUNERY_API_KEY": "x"}
    env = worker_env({"PATH": "/bin", "TUNERY_HOME": "/h", "HF_HOME": "/c", **secrets})
    assert env["PATH"] == "/bin"
    assert env["TUNERY_HOME"] == "/h"
    assert env["HF_HUB_OFFLINE"] == "1"
    assert not secrets.keys() & env.keys()


def test_a_log_over_its_limit_is_rotated_while_it_is_written(tmp_path) -> None:
    log = tmp_path / "worker.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 100)
        assert not rotate(log, limit_bytes=100)
        writer.write(b"b")
        assert rotate(log, limit_bytes=100)
        writer.write(b"later")
    assert log.read_bytes() == b"later"
    assert (tmp_path / "worker.log.1").read_bytes() == b"a" * 100 + b"b"


def test_a_paused_run_says_why_until_a_step_follows() -> None:
    run = prepared()
    WorkerFile(run).write()
    with EventWriter(run.events_file) as events:
        events.write("status", status="running")
        events.write("status", status="paused", reason="disk full: 12 MiB are missing")
        state = derive(run)
        assert (state.status, state.reason) == ("paused", "disk full: 12 MiB are missing")
        events.write("step", step=1, epoch=0.1, loss=1.0, learning_rate=1e-3)
        assert derive(run).status == "running"
        Control(run).request_stop()
        assert derive(run).status == "stopping"
