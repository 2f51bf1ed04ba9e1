"""The main job from a terminal: train, watch, stop, lose, resume, queue and plan real runs."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chat_model import make_chat_model
from tests.waiting import PATIENCE_SECONDS, until

from tunery.runs.folder import RunFolder, names, open_run
from tunery.runs.status import derive
from tunery.workers import local
from tunery.workers.log import read_events

TUNERY = [sys.executable, "-m", "tunery"]
ROWS = [
    {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
    for q, a in [("hi", "hello"), ("who?", "tuna"), ("why?", "because"), ("one", "two")] * 4
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("model") / "tiny-chat")


@pytest.fixture
def recipe(tmp_path: Path, model: Path) -> Path:
    """A run of 8 steps that takes a second or two after its start."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"model: {{name: {model}, dtype: fp32, device: cpu}}\n"
        f"data: {{train: [{rows}], max_length: 128}}\n"
        "adapter: {type: lora, rank: 4}\n"
        "train: {num_epochs: 2, batch_size: 4, num_threads: 1}\n"
        "evaluate: {split: 0.25, prompts: [who?], max_new_tokens: 4, forgetting: false}\n"
        "checkpoint: {every: 2}\n"
    )
    return file


LONG = ["--train.num_epochs", "10000", "--evaluate.every", "never", "--evaluate.prompts", "[]"]


@pytest.fixture(autouse=True)
def nothing_left(home: Path) -> Iterator[None]:
    """Every test ends its runs; one that forgets fails and does not burden the next."""
    yield
    left = [name for name in names() if derive(open_run(name)).is_live]
    for name in left:
        local.stop(open_run(name), grace_seconds=0.0)
    assert not left


def tunery(*words: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*TUNERY, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
    return done


def run_of(name: str) -> RunFolder:
    return open_run(name)


def test_a_run_from_a_file_ends_with_its_result_and_what_to_do_next(recipe) -> None:
    said = tunery("train", recipe, "--name", "first").stdout
    assert "16 rows read = 16 used + 0 set aside + 0 filtered" in said
    for words in ("✓ tokenizing", "step 6/6", "evaluation at step 6", "before:", "after:"):
        assert words in said
    assert "tunery chat first --against" in said
    assert "tunery export first --to merged" in said
    run = run_of("first")
    assert run.adapter_dir.is_dir()
    assert run.report_file.is_file()
    listed = json.loads(tunery("runs", "list", "--json").stdout)
    assert [(r["name"], r["folder"], r["status"], r["step"], r["num_steps"]) for r in listed] == [
        ("first", str(run.path), "finished", 6, 6)
    ]
    shown = json.loads(tunery("runs", "show", "first", "--json").stdout)
    assert shown["rows"]["read"] == 16
    assert [a["prompt"] for a in shown["answers"]] == ["who?"]
    evals = [e for e in read_events(run.events_file)[0] if e["type"] == "eval"]
    worst = evals[-1]["worst"]
    assert worst[0]["loss"] >= worst[-1]["loss"] > 0
    assert worst[0]["text"].startswith("user\n")
    asked, expected = worst[0]["prompt"], worst[0]["expected"]
    assert f"user\n{asked}\nassistant\n{expected}" in worst[0]["text"]
    checked = json.loads(tunery("runs", "verify", "first", "--json").stdout)
    assert [f["id"] for f in checked["findings"]] == [f"I{n}" for n in range(1, 10)]
    again = tunery("train", recipe, "--name", "first", expect=2).stderr
    assert "a run with this name already exists" in again
    assert "tunery runs resume first" in again
    assert "is finished" in tunery("runs", "resume", "first", expect=2).stderr
    assert "first was deleted" in tunery("runs", "delete", "first").stdout
    assert names() == []


@pytest.mark.slow
def test_json_output_is_one_object_a_line_and_the_last_is_the_outcome(recipe) -> None:
    lines = tunery("train", recipe, "--name", "machine", "--json").stdout.splitlines()
    first, *events, last = [json.loads(line) for line in lines]
    assert first == {"type": "prepared", "name": "machine", "folder": str(run_of("machine").path)}
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert (last["type"], last["status"], last["step"]) == ("outcome", "finished", 6)


def test_a_detached_run_is_followed_stopped_and_resumed(recipe) -> None:
    said = tunery("train", recipe, *LONG, "--name", "long", "--detach")
    assert said.stdout == "long\n"
    assert "tunery runs follow long" in said.stderr
    run = run_of("long")
    follower = subprocess.Popen([*TUNERY, "runs", "follow", "long"], stdout=subprocess.PIPE)
    until(lambda: derive(run).step >= 3)
    refused = tunery("runs", "delete", "long", expect=2).stderr
    assert "tunery runs stop long" in refused
    assert "is already running" in tunery("runs", "resume", "long", expect=2).stderr
    stopped = json.loads(tunery("runs", "stop", "long", "--json").stdout)
    assert (stopped["status"], stopped["pid"]) == ("stopped", None)
    assert stopped["checkpoint_step"] == stopped["step"] >= 3
    followed, _ = follower.communicate(timeout=PATIENCE_SECONDS)
    assert follower.returncode == 0
    assert b"stopped" in followed
    assert "is not running" in tunery("runs", "stop", "long", expect=2).stderr
    tunery("runs", "resume", "long", "--detach")
    until(lambda: derive(run).step > stopped["step"])
    tunery("runs", "stop", "long")
    steps = [e["step"] for e in read_events(run.events_file)[0] if e["type"] == "step"]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("megabytes", [600, 700, 800])
def test_a_worker_without_memory_is_told_so_with_a_remedy(
    recipe, megabytes: int, monkeypatch
) -> None:
    """Where the memory ends differs (imports, tokenizer, weights, a step); the cause does not."""
    name = f"small-{megabytes}"
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")  # address space is what is limited, not memory
    done = subprocess.run(
        ["prlimit", f"--as={megabytes << 20}", *TUNERY, "train", str(recipe), "--name", name],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    if done.returncode == 0:
        pytest.skip(f"{megabytes} MiB are enough here")
    assert done.returncode == 1, done.stderr
    assert "memory" in done.stderr, done.stderr
    assert "fix: " in done.stderr
    assert derive(run_of(name)).status in ("failed", "interrupted")


def test_a_killed_worker_is_told_with_its_cause_and_its_resume(recipe) -> None:
    watched = subprocess.Popen(
        [*TUNERY, "train", str(recipe), *LONG, "--checkpoint.every", "2", "--name", "lost"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: "lost" in names() and derive(run_of("lost")).step >= 3)
    os.kill(json.loads(run_of("lost").worker_file.read_text())["pid"], signal.SIGKILL)
    _, error = watched.communicate(timeout=PATIENCE_SECONDS)
    assert watched.returncode == 1
    assert "signal 9 (often out of memory)" in error
    assert "tunery runs resume lost" in error
    assert derive(run_of("lost")).status == "interrupted"
    tunery("runs", "verify", "lost")
    tunery("runs", "resume", "lost", "--detach")
    until(lambda: derive(run_of("lost")).step >= 5)
    tunery("runs", "stop", "lost")


def test_ctrl_c_saves_and_a_second_one_leaves_the_run_alone(recipe) -> None:
    watched = subprocess.Popen(
        [*TUNERY, "train", str(recipe), *LONG, "--name", "mine"], stdout=subprocess.PIPE, text=True
    )
    until(lambda: "mine" in names() and derive(run_of("mine")).step >= 2)
    watched.send_signal(signal.SIGINT)
    said, _ = watched.communicate(timeout=PATIENCE_SECONDS)
    assert watched.returncode == 130
    assert "Stopping: the run saves first" in said
    assert derive(run_of("mine")).status == "stopped"
    assert "tunery runs resume mine" in said


def test_a_terminal_shows_phases_and_a_moving_bar(recipe) -> None:
    words = ["train", str(recipe), "--name", "seen"]
    code, said = in_terminal(words)
    assert code == 0
    for text in ("loading model", "6 steps", "━", "/6", "before", "after", "Next:"):
        assert text in said


def in_terminal(words: list[str]) -> tuple[int, str]:
    """Run a command on a pseudo-terminal and return its exit status and all it drew."""
    leader, follower = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen([*TUNERY, *words], stdout=follower, stderr=follower, env=env) as process:
        os.close(follower)
        drawn = b""
        while True:
            ready, _, _ = select.select([leader], [], [], PATIENCE_SECONDS)
            assert ready, drawn.decode(errors="replace")
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            drawn += part
    os.close(leader)
    return process.returncode, drawn.decode(errors="replace")


@pytest.mark.slow
def test_a_second_run_waits_in_the_queue_and_says_for_whom(recipe) -> None:
    tunery("train", recipe, *LONG, "--name", "one", "--detach")
    until(lambda: derive(run_of("one")).status == "running")
    tunery("train", recipe, "--name", "two", "--detach")
    until(lambda: "in use by run one" in derive(run_of("two")).reason)
    listed = {r["name"]: r for r in json.loads(tunery("runs", "list", "--json").stdout)}
    assert listed["two"]["status"] == "queued"
    assert listed["two"]["reason"] == "waiting for cpu: in use by run one"
    tunery("runs", "stop", "one")
    until(lambda: derive(run_of("two")).status == "finished")
    assert local.wait_until_gone(run_of("two"), PATIENCE_SECONDS)


def test_a_resume_names_what_changed_and_goes_on_when_that_is_allowed(recipe, tmp_path) -> None:
    tunery("train", recipe, *LONG, "--name", "drift", "--detach")
    until(lambda: derive(run_of("drift")).step >= 2)
    tunery("runs", "stop", "drift")
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write(json.dumps(ROWS[0]) + "\n")
    config = run_of("drift").config_file
    config.write_text(config.read_text().replace("seed: 42", "seed: 43", 1))
    refused = tunery("runs", "resume", "drift", expect=2).stderr
    assert "data_hash: " in refused
    assert "train.seed: 42 -> 43" in refused
    assert "--allow-drift train.seed" in refused
    allow = ["--allow-drift", "data_hash", "--allow-drift", "train.seed"]
    tunery("runs", "resume", "drift", "--detach", *allow)
    until(lambda: _resumed(run_of("drift")) is not None)
    assert _resumed(run_of("drift"))["allowed_drift"] == ["train.seed", "data_hash"]
    tunery("runs", "stop", "drift")


def _resumed(run: RunFolder):
    events, _ = read_events(run.events_file)
    return next((e for e in events if e["type"] == "resumed"), None)


def test_a_dry_run_shows_settings_and_plan_and_starts_nothing(recipe) -> None:
    made = json.loads(tunery("train", recipe, "--dry-run", "--json").stdout)
    assert made["config"]["adapter"]["rank"] == 4
    plan = made["plan"]
    assert plan["rows"]["train"] == 12
    assert plan["steps"] == {
        "all": 6, "epoch": 3, "batch_size": 4, "micro_batch_tokens": 4 * plan["tokens"]["longest"]
    }  # fmt: skip
    assert plan["memory"]["total"] == sum(
        plan["memory"][n]
        for n in (
            "weights", "trained", "gradients", "optimizer", "activations", "logits", "interpreter"
        )
    )  # fmt: skip
    assert plan["fits"]
    assert not plan["tokens"]["estimated"]
    assert names() == []


@pytest.mark.slow
def test_a_measured_plan_says_what_a_real_step_took(recipe) -> None:
    plan = json.loads(tunery("plan", recipe, "--measure", "--json").stdout)
    assert plan["memory"]["measured"]
    assert plan["speed"]["from"] == "measured"
    assert plan["seconds"] > 0
    assert plan["parameters"]["trained"] == 4 * 2 * sum(
        (64 + 64, 64 + 32, 64 + 32, 64 + 64, 64 + 128, 64 + 128, 128 + 64)
    )
    assert names() == []
