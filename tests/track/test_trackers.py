"""What every tracker must do: show each point of the log once, and never cost the run anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import (
    SCALARS,
    TENSORS,
    EventAccumulator,
)
from tests.chat_model import make_chat_model
from tests.train import tiny
from tests.waiting import PATIENCE_SECONDS, until

from tunery.config.base import tag
from tunery.config.config import Config
from tunery.config.trackers import TRACKERS, TrackConfig
from tunery.errors import ConfigError
from tunery.measures import LOSS, Measure
from tunery.runs import manifest
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create
from tunery.runs.status import derive
from tunery.services import runs
from tunery.track import follower
from tunery.workers import local
from tunery.workers.entry import ENTRY, command
from tunery.workers.folder import read_json
from tunery.workers.log import read_events
from tunery.workers.process import WorkerFile, try_lock

MEASURES = (LOSS, Measure("reward_margin", "Reward margin", better="high"))
NAMES = [tag(kind) for kind in TRACKERS]

Scalar = tuple[str, int, float, float]
"""Name, step, time, value as the tracker keeps it."""
Answer = tuple[int, float, str]


def read_tensorboard(where: str) -> tuple[list[Scalar], list[Answer], str]:
    """Everything in TensorBoard's own files, by TensorBoard's own reader."""
    read = EventAccumulator(where, size_guidance={SCALARS: 0, TENSORS: 0}).Reload()
    scalars = [
        (name, each.step, each.wall_time, each.value)
        for name in read.Tags()["scalars"]
        for each in read.Scalars(name)
    ]
    texts = {
        name: [
            (e.step, e.wall_time, e.tensor_proto.string_val[0].decode()) for e in read.Tensors(name)
        ]
        for name in read.Tags()["tensors"]
    }
    [(_, _, config)] = texts.pop("config")
    return scalars, [answer for found in texts.values() for answer in found], config


READERS: dict[str, Callable[[str], tuple[list[Scalar], list[Answer], str]]] = {
    "tensorboard": read_tensorboard
}


def points(run: RunFolder) -> list[dict[str, Any]]:
    """The events that count, found without the code under test."""
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    begins = False
    for event in read_events(run.events_file)[0]:
        kind, step = event["type"], event.get("step")
        if kind == "status" and event["status"] == "running":
            begins = True
        if kind == "resumed":
            kept, begins = {k: e for k, e in kept.items() if e["step"] <= step}, False
        if kind in ("step", "eval", "sample"):
            kept = {} if begins else kept
            begins = False
            kept[kind, step, event.get("stage"), event.get("prompt")] = event
    return list(kept.values())


def told(run: RunFolder) -> tuple[list[str], list[str]]:
    """What a tracker has to show: its numbers and its answers, one line each, sorted."""
    numbers: list[Scalar] = []
    for event in points(run):
        flat = {**event, **event.get("measures", {})}
        names = {
            "step": ("loss", "reward_margin", "learning_rate", "grad_norm", "tokens_per_second"),
            "eval": ("loss", "reward_margin", "perplexity", "forgetting"),
        }.get(event["type"], ())
        group = "train" if event["type"] == "step" else "eval"
        numbers += [
            (f"{group}/{name}", event["step"], event["time"], float(flat[name]))
            for name in names
            if flat.get(name) is not None
        ]
    answers = [
        (e["step"], e["time"], f"**{e['prompt']}**\n\n{e['answer']}")
        for e in points(run)
        if e["type"] == "sample"
    ]
    return _lines(numbers), sorted(map(str, answers))


def _lines(numbers: list[Scalar]) -> list[str]:
    """As text: nan is nan. Trackers may keep fp32."""
    return sorted(f"{name} {step} {at:.3f} {np.float32(v)}" for name, step, at, v in numbers)


def shown(run: RunFolder, name: str) -> tuple[list[str], list[str]]:
    """What a tracker shows."""
    scalars, answers, _ = READERS[name](read_json(run.track_file(name))["id"])
    return _lines(scalars), sorted(str((s, round(at, 3), text)) for s, at, text in answers)


class Story:
    """The log of a made-up run, event by event.

    Args:
        run: Its folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self.events = EventWriter(run.events_file)
        self.said = 0

    def begin(self, *, resumed: int | None = None) -> Story:
        self.events.write("status", status="running", pid=os.getpid())
        declared = [measure.as_dict() for measure in MEASURES]
        self.events.write(
            "plan", num_steps=9, trained_parameters=1, total_parameters=2, measures=declared
        )
        if resumed is None:
            self.sample(0, "before")
        else:
            self.events.write("resumed", step=resumed, checkpoint=f"step-{resumed:08d}")
        return self

    def steps(self, first: int, last: int) -> Story:
        for step in range(first, last + 1):
            self.said += 1
            loss = {3: float("nan"), 5: float("inf")}.get(step, 1 / step + self.said)
            self.events.write(
                "step", step=step, epoch=step / 9, loss=loss, learning_rate=1e-3 * step,
                grad_norm=0.1 * self.said, tokens_per_second=100.0 + step,
                measures={"reward_margin": -float(self.said)}, seconds=0.5,
            )  # fmt: skip
            if step % 3 == 0:
                self.sample(step, "eval")
                self.events.write(
                    "eval", step=step, loss=2.0 / self.said, perplexity=None, forgetting=0.25,
                    measures={"reward_margin": 1.0 * self.said},
                )  # fmt: skip
        return self

    def sample(self, step: int, stage: str) -> None:
        self.said += 1
        for prompt in ("Who are you?", "用一句话回答。"):
            answer = f"答 <b>{self.said}</b> of {stage}"
            self.events.write("sample", step=step, stage=stage, prompt=prompt, answer=answer)

    def end(self, status: str = "finished") -> None:
        self.events.write("status", status=status)
        self.events.close()


def made(name: str, **settings: Any) -> RunFolder:
    return create("tracked", Config.model_validate({"track": {name: settings}}), {})


def feed(run: RunFolder, name: str) -> None:
    """Feed a tracker in this process, from a run that has ended."""
    config = follower.read_frozen(run.config_file)
    run.track_dir.mkdir(exist_ok=True)
    tracker = config.track.chosen()[name].make()
    follower.feed(run, name, tracker, config.model_dump(mode="json"))


@pytest.fixture
def at_work() -> Iterator[Callable[[RunFolder], Callable[[], None]]]:
    """Makes a run look as if its worker were alive; what it returns lets it end."""
    held: list[int] = []

    def hold(run: RunFolder) -> Callable[[], None]:
        lock = try_lock(run.lock_file)
        assert lock is not None
        held.append(lock)
        return lambda: os.close(held.pop())

    yield hold
    for lock in held:
        os.close(lock)


def begin(run: RunFolder, name: str) -> subprocess.Popen[bytes]:
    """The real process of a tracker."""
    return subprocess.Popen(command("track", str(run.path), name))


def state(run: RunFolder, name: str) -> str:
    return str(read_json(run.track_file(name)).get("state", ""))


def test_every_tracker_is_known_by_its_module_and_has_a_reader_here():
    assert list(TrackConfig.model_fields) == NAMES == list(READERS)


@pytest.mark.parametrize("name", NAMES)
def test_all_points_of_a_finished_run_are_shown_and_equal_its_log(home: Path, name: str):
    run = made(name)
    Story(run).begin().steps(1, 9).end()
    feed(run, name)
    numbers, answers = told(run)
    assert len(numbers) == 9 * 5 + 3 * 3
    assert len(answers) == 2 + 3 * 2
    assert shown(run, name) == (numbers, answers)
    assert "learning_rate: 0.0002" in READERS[name](read_json(run.track_file(name))["id"])[2]
    assert state(run, name) == "ended"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_resumed_run_did_again_is_shown_once(home: Path, name: str):
    run = made(name)
    story = Story(run).begin().steps(1, 7).begin(resumed=3).steps(4, 8)
    story.begin(resumed=6).steps(7, 9).sample(9, "after")
    story.end()
    feed(run, name)
    assert shown(run, name) == told(run)
    feed(run, name)  # once more, by another process
    assert shown(run, name) == told(run)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_began_again_without_a_checkpoint_is_shown_once(home: Path, name: str):
    run = made(name)
    Story(run).begin().steps(1, 2).begin().begin().steps(1, 1).end("stopped")
    feed(run, name)
    assert shown(run, name) == told(run)
    assert [line.split()[1] for line in shown(run, name)[0]].count("2") == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_tracker_killed_in_the_middle_and_begun_again_shows_everything_once(
    home: Path, name: str, at_work: Any
):
    run = made(name)
    let_end = at_work(run)
    story = Story(run).begin().steps(1, 4)
    first = begin(run, name)
    until(lambda: state(run, name) == "following" and len(shown(run, name)[0]) == 4 * 5 + 3)
    first.send_signal(signal.SIGKILL)
    first.wait(PATIENCE_SECONDS)
    with run.events_file.open("ab") as torn:
        torn.write(b'{"seq":99,"type":"st')
    [warned] = runs.view(run.name).trackers
    assert "died" in warned.warning
    second = begin(run, name)
    until(lambda: len(shown(run, name)[0]) == 4 * 5 + 3)
    story.events.close()
    story.events = EventWriter(run.events_file)  # which cuts the torn line off
    story.steps(5, 9).end()
    let_end()
    assert second.wait(PATIENCE_SECONDS) == 0
    assert shown(run, name) == told(run)
    assert runs.view(run.name).trackers[0].warning == ""


def agrees(run: RunFolder, name: str) -> bool:
    """Whether the tracker shows what was told; while it starts over, its files are two."""
    try:
        return shown(run, name) == told(run)
    except ValueError:
        return False


@pytest.mark.parametrize("name", NAMES)
def test_a_tracker_that_follows_a_run_through_its_resume_takes_void_points_back(
    home: Path, name: str, at_work: Any
):
    run = made(name)
    let_end = at_work(run)
    story = Story(run).begin().steps(1, 5)
    process = begin(run, name)
    until(lambda: state(run, name) == "following" and agrees(run, name))
    story.begin(resumed=3).steps(4, 6)
    until(lambda: agrees(run, name))
    story.steps(7, 9).end()
    let_end()
    assert process.wait(PATIENCE_SECONDS) == 0
    assert shown(run, name) == told(run)


def test_a_given_folder_gets_one_folder_per_run_and_keeps_what_is_not_ours(
    home: Path, tmp_path: Path
):
    boards = tmp_path / "boards"
    (boards / "tracked").mkdir(parents=True)
    other = boards / "tracked" / "events.out.tfevents.1.other"
    other.write_bytes(b"")
    run = made("tensorboard", folder=str(boards))
    Story(run).begin().steps(1, 2).end()
    for _ in range(2):
        feed(run, "tensorboard")
    assert read_json(run.track_file("tensorboard"))["id"] == str(boards / "tracked")
    assert len(list((boards / "tracked").iterdir())) == 2
    assert other.exists()


TOY = """
import os, sys, threading
from tunery.config.trackers.tensorboard import TensorboardConfig
from tunery.track import follower
class Toy:
    def __init__(self, config): pass
    def begin(self, run, config, *, known_id): return "toy://1"
    def take(self, event):
        if event["type"] == "step": {act}
    def end(self, status): pass
TensorboardConfig.build = "__main__:Toy"
follower.END_SECONDS = 0.5
if __name__ == "__main__":
    sys.exit(follower.main(sys.argv[1:]))
"""
WORKER = "import sys, fake_worker\nsys.exit(fake_worker.main(sys.argv[1], 'finish', '5'))"


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("raise ValueError('the disk of the tracker is full')", "the disk of the tracker is full"),
        ("threading.Event().wait()", "died"),
        ("os.kill(os.getpid(), 9)", "died"),
    ],
)
def test_a_tracker_that_raises_hangs_or_dies_costs_the_run_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, said: str
):
    (tmp_path / "toy_tracker.py").write_text(TOY.replace("{act}", act))
    (tmp_path / "toy_worker.py").write_text(WORKER)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setitem(ENTRY, "track", "toy_tracker")
    monkeypatch.setitem(ENTRY, "run", "toy_worker")
    run = made("tensorboard")
    runs.start(run)
    assert local.wait_until_gone(run, PATIENCE_SECONDS)
    assert (derive(run).status, derive(run).step) == ("finished", 5)
    until(lambda: runs.outcome(run).trackers[0].where)
    until(lambda: said in runs.outcome(run).trackers[0].warning)
    [came] = runs.outcome(run).trackers
    assert (came.label, came.where) == ("TensorBoard", "toy://1")
    assert "tunery runs track tracked" in came.warning
    monkeypatch.setitem(ENTRY, "track", "tunery.track.follower")
    runs.track_again(run.name)
    until(lambda: state(run, "tensorboard") == "ended")
    assert runs.outcome(run).trackers[0].warning == ""
    assert shown(run, "tensorboard") == told(run)


def test_a_run_that_is_killed_ends_its_tracker_which_says_so(home: Path, at_work: Any):
    run = made("tensorboard")
    let_end = at_work(run)
    Story(run).begin().steps(1, 2).events.close()
    process = begin(run, "tensorboard")
    until(lambda: state(run, "tensorboard") == "following")
    let_end()
    assert process.wait(PATIENCE_SECONDS) == 0
    assert shown(run, "tensorboard") == told(run)


def test_a_tracker_waits_for_the_process_of_the_attempt_before(home: Path, at_work: Any):
    run = made("tensorboard")
    run.track_dir.mkdir()
    lock = try_lock(run.track_lock("tensorboard"))
    assert lock is not None
    Story(run).begin().steps(1, 2).end()
    process = begin(run, "tensorboard")
    time.sleep(0.2)
    assert process.poll() is None
    os.close(lock)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert shown(run, "tensorboard") == told(run)


@pytest.mark.parametrize("name", NAMES)
def test_a_package_that_is_missing_is_said_before_the_run_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    from tunery.config.load import from_tokens

    [kind] = [each for each in TRACKERS if tag(each) == name]
    monkeypatch.setattr(kind, "packages", ("not_on_this_machine",))
    loaded = from_tokens(["--data.train", "identity", f"--track.{name}"])
    for refused in (runs.plan, runs.prepare):
        with pytest.raises(ConfigError, match=f"{name} needs the package") as caught:
            refused(loaded)
        assert "pip install 'tunery[track]'" in caught.value.fix


def test_a_real_run_and_its_resume_are_shown_while_it_trains(home: Path):
    model = make_chat_model(home / "models" / "tiny")
    run = tiny.prepared(
        "real", model, tiny.chats(home / "chats.jsonl"),
        train={"num_epochs": 30}, track={"tensorboard": {}},
        evaluate={"every": 2, "split": 0.2, "max_new_tokens": 4, "prompts": ["Who are you?"]},
    )  # fmt: skip
    runs.start(run)
    until(lambda: manifest.list_checkpoints(run.checkpoints_dir))
    os.kill(WorkerFile(run).read()["pid"], signal.SIGKILL)
    until(lambda: not derive(run).is_live)
    until(lambda: state(run, "tensorboard") == "ended")
    assert shown(run, "tensorboard") == told(run)
    runs.resume("real")
    until(lambda: not derive(run).is_live)
    until(lambda: state(run, "tensorboard") == "ended")
    assert derive(run).status == "finished", run.worker_log.read_text()
    numbers, answers = told(run)
    assert len(numbers) > 4 * (derive(run).num_steps or 0)
    assert len(answers) > 2
    assert shown(run, "tensorboard") == (numbers, answers)
    said = subprocess.run(
        [sys.executable, "-m", "tunery", "runs", "show", "real"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "TensorBoard" in said
    assert str(run.path / "tensorboard") in said.replace("\n", "").replace(" ", "")


def test_a_tracker_needs_no_torch():
    code = (
        "import sys, tunery.track.follower, tunery.track.tensorboard; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
