"""The worker as a process: how it begins, stops, fails and says so (T4, T10, T11, T21)."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.limits import data_limit, has_gpu
from tests.train import tiny
from tests.train.zygote import Zygote
from tests.waiting import PATIENCE_SECONDS, until, until_halted

from tunery import memory
from tunery.config.config import Config
from tunery.runs.device import DeviceLock
from tunery.runs.folder import RunFolder
from tunery.train.measure.measure import Measurements
from tunery.train.state.state import State
from tunery.types import Conversation, Message
from tunery.workers.log import follow
from tunery.workers.process import Control, WorkerFile


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny.chats(tmp_path / "chats.jsonl")


@pytest.fixture
def run(home: Path, model: Path, data: Path) -> RunFolder:
    """Ten steps: five an epoch, two epochs."""
    return tiny.prepared("run", model, data)


def _work(zygote: Zygote, run: RunFolder, home: Path, *arguments: str) -> int:
    return zygote.run("work", path=str(run.path), home=str(home), arguments=list(arguments))


def _last(run: RunFolder) -> dict[str, Any]:
    return tiny.events(run.path, "status")[-1]


def _until(run: RunFolder, kind: str, **fields: Any) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    for batch in follow(run.events_file, done=lambda: time.monotonic() > end, interval=0.005):
        for event in batch:
            if event["type"] == kind and all(event.get(k) == v for k, v in fields.items()):
                return
    raise AssertionError(f"no {kind} {fields}")


def test_a_run_from_data_to_report(zygote: Zygote, run: RunFolder, home: Path) -> None:
    assert _work(zygote, run, home) == 0, run.worker_log.read_text()
    assert _last(run)["status"] == "finished"
    begun = [e["phase"] for e in tiny.events(run.path, "phase") if e["state"] == "begin"]
    assert begun == ["data", "tokenize", "model", "before", "train", "after", "final", "report"]
    (rows,) = tiny.events(run.path, "rows")
    assert rows["read"] == rows["used"] + rows["quarantined"] + sum(rows["filtered"].values()) == 24
    assert (rows["train"], rows["held_out"]) == (19, 5)
    stages = [e["stage"] for e in tiny.events(run.path, "sample")]
    assert stages == ["before", "eval", "after"]
    losses = [e["loss"] for e in tiny.events(run.path, "step")]
    assert len(losses) == 10
    assert losses[-1] < losses[0]
    evals = tiny.events(run.path, "eval")
    assert [e["step"] for e in evals] == [0, 5, 10]
    assert evals[0]["forgetting"] == 0.0
    (result,) = tiny.events(run.path, "result")
    assert Path(result["path"]) == run.adapter_dir
    settings = json.loads((run.adapter_dir / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(run_model(run))
    assert run.report_file.is_file()
    assert WorkerFile(run).read()["pid"]


def test_held_out_rows_are_answered_where_no_prompts_are_named(
    zygote: Zygote, home: Path, model: Path, data: Path
) -> None:
    shown: dict[int, list[tuple[str, str]]] = {}
    weights: dict[int, bytes] = {}
    for count in (2, 0):
        run = tiny.prepared(
            f"run-{count}", model, data,
            evaluate={"every": "epoch", "split": 0.2, "samples": count, "max_new_tokens": 4},
        )  # fmt: skip
        assert _work(zygote, run, home) == 0, run.worker_log.read_text()
        shown[count] = [(e["stage"], e["prompt"]) for e in tiny.events(run.path, "sample")]
        weights[count] = (run.adapter_dir / "adapter_model.safetensors").read_bytes()
    assert [stage for stage, _ in shown[2]] == ["before"] * 2 + ["eval"] * 2 + ["after"] * 2
    prompts = [prompt for _, prompt in shown[2]]
    assert prompts[:2] == prompts[2:4] == prompts[4:]
    assert len(set(prompts)) == 2
    asked = [
        line["messages"][0]["content"] for line in map(json.loads, data.read_text().splitlines())
    ]
    assert set(prompts) <= set(asked)
    assert shown[0] == []
    assert weights[0] == weights[2]  # answers are no part of learning


def test_rows_without_a_prompt_give_no_samples(
    zygote: Zygote, home: Path, model: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"Hello there, {i}"}) + "\n" for i in range(12)))
    run = tiny.prepared(
        "run", model, texts, method={"type": "pretrain"},
        evaluate={"every": "epoch", "split": 0.25},
    )  # fmt: skip
    assert _work(zygote, run, home) == 0, run.worker_log.read_text()
    assert tiny.events(run.path, "sample") == []


@pytest.mark.parametrize("answered", [True, False])
def test_held_out_rows_are_answered_later_only_where_they_were_before_training(
    answered: bool,
) -> None:
    """A run that an earlier version began has no answers to compare with."""
    asked = [Conversation((Message("user", "q"),))]
    parts: Any = (SimpleNamespace(config=Config()), None, None, SimpleNamespace(samples=asked))
    made = Measurements(*parts, cast("Any", None), 1, 1)
    state = State(answered_before=True) if answered else State.from_dict({"step": 3})
    assert list(made._prompts(state)) == (asked if answered else [])


def run_model(run: RunFolder) -> Path:
    from tunery.config.load import read_frozen

    return Path(read_frozen(run.config_file).model.name)


@pytest.mark.parametrize("adapter", [{"type": "full"}, {"type": "freeze"}])
def test_a_whole_model_is_written_with_tokenizer_and_template(
    zygote: Zygote, home: Path, model: Path, data: Path, adapter: dict[str, Any]
) -> None:
    from tunery.models.load import load_tokenizer

    run = tiny.prepared("run", model, data, adapter=adapter, evaluate={"every": "never"})
    assert _work(zygote, run, home) == 0, run.worker_log.read_text()
    opened = load_tokenizer(run.model_dir)
    assert opened.chat_template == load_tokenizer(model).chat_template
    assert (run.model_dir / "config.json").is_file()


def test_pretraining_learns_every_token_of_texts(
    zygote: Zygote, home: Path, model: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"Hello there, {i}"}) + "\n" for i in range(12)))
    run = tiny.prepared(
        "run", model, texts, method={"type": "pretrain"}, evaluate={"every": "never"}
    )
    assert _work(zygote, run, home) == 0, run.worker_log.read_text()
    for step in tiny.events(run.path, "step"):
        assert step["trained_tokens"] == step["tokens"] - 4  # all but the first of each row


def test_a_run_goes_on_from_an_adapter(
    zygote: Zygote, run: RunFolder, home: Path, data: Path
) -> None:
    assert _work(zygote, run, home) == 0
    further = tiny.prepared("further", Path("run"), data)
    assert _work(zygote, further, home) == 0, further.worker_log.read_text()
    before, after = (tiny.events(r.path, "step") for r in (run, further))
    assert after[0]["loss"] < before[0]["loss"]
    settings = json.loads((further.adapter_dir / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(run_model(run))


@pytest.fixture(scope="module")
def whole(
    zygote: Zygote, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[tuple[Any, ...]]]:
    """Digest and history of an uninterrupted run of one epoch."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNERY_HOME", str(place / "home"))
        data = tiny.chats(place / "chats.jsonl")
        run = tiny.prepared("whole", model, data, train={"num_epochs": 1})
        assert _work(zygote, run, place / "home") == 0, run.worker_log.read_text()
    return tiny.digest(run.path), tiny.history(run.path)


PHASES = ["data", "tokenize", "model", "before", "train", "after", "final"]


@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_in_any_phase_stops_the_run_which_then_ends_equal(
    zygote: Zygote, home: Path, model: Path, data: Path, whole: tuple[Any, ...], phase: str
) -> None:
    number = signal.SIGINT if phase in ("tokenize", "before") else signal.SIGTERM
    run = tiny.prepared("run", model, data, train={"num_epochs": 1})
    pid = zygote.start("work_and_wait", path=str(run.path), home=str(home), where=phase)
    until_halted(pid)
    assert has_gpu() or data_limit(pid) == memory.total_bytes()
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)
    assert zygote.wait(pid) == 0
    last = _last(run)
    assert last["status"] == "stopped"
    assert signal.Signals(number).name in last["reason"]
    if phase in ("after", "final"):
        assert tiny.newest(run.path) is not None
    assert _work(zygote, run, home) == 0
    assert _last(run)["status"] == "finished"
    assert tiny.digest(run.path) == whole[0]
    assert tiny.history(run.path) == whole[1]


def test_a_signal_while_stepping_saves_the_step_and_exits_0(
    zygote: Zygote, home: Path, model: Path, data: Path
) -> None:
    run = tiny.prepared("run", model, data, train={"num_epochs": 500})
    pid = zygote.start("work", path=str(run.path), home=str(home))
    _until(run, "step", step=7)
    os.kill(pid, signal.SIGTERM)
    assert zygote.wait(pid) == 0
    statuses = [e["status"] for e in tiny.events(run.path, "status")]
    assert statuses == ["running", "stopping", "stopped"]
    assert tiny.newest(run.path).step == tiny.events(run.path, "step")[-1]["step"] >= 7


def test_the_control_folder_stops_and_saves(
    zygote: Zygote, home: Path, model: Path, data: Path
) -> None:
    run = tiny.prepared(
        "run", model, data, train={"num_epochs": 500}, checkpoint={"every": "never"}
    )
    pid = zygote.start("work", path=str(run.path), home=str(home))
    _until(run, "step", step=3)
    Control(run).request_save()
    until(lambda: not Control(run).save_requested())
    Control(run).request_stop()
    assert zygote.wait(pid) == 0
    assert _last(run)["reason"] == "stopped on request"
    saved = [e["step"] for e in tiny.events(run.path, "checkpoint")]
    assert (
        saved[0] >= 3
    )  # nothing at the start; on request, and at the stop if a step was done since


def test_a_second_signal_exits_at_once(zygote: Zygote, home: Path, model: Path, data: Path) -> None:
    run = tiny.prepared("run", model, data)
    pid = zygote.start("work_and_wait", path=str(run.path), home=str(home), where="after")
    _until(run, "checkpoint", step=10)
    until_halted(pid)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGCONT)
    assert zygote.wait(pid) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert tiny.newest(run.path).step == 10


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("runtime", "RuntimeError: mat1 and mat2"),
        ("odd", "Odd: no message"),
        ("import", "Missing package"),
        ("system", "Permission denied (/etc/x)"),
        ("memory", "Out of memory"),
        ("exit", "SystemExit: 3"),
    ],
)
def test_any_exception_becomes_a_sentence_a_remedy_and_exit_1(
    zygote: Zygote, run: RunFolder, home: Path, kind: str, said: str
) -> None:
    assert zygote.run("work_and_fail", path=str(run.path), home=str(home), kind=kind) == 1
    last = _last(run)
    assert last["status"] == "failed"
    assert said in last["reason"]
    assert last["fix"]
    assert last["exit"] == 1
    assert "Traceback" in run.worker_log.read_text()


def test_changed_data_is_refused_with_exit_2_and_may_be_allowed(
    zygote: Zygote, home: Path, model: Path, data: Path
) -> None:
    run = tiny.prepared("run", model, data)
    pid = zygote.start("work_and_wait", path=str(run.path), home=str(home), where="after")
    _until(run, "checkpoint", step=10)
    os.kill(pid, signal.SIGKILL)
    zygote.wait(pid)
    tiny.chats(data, 25)
    assert _work(zygote, run, home) == 2
    last = _last(run)
    assert last["status"] == "failed"
    assert "data_hash" in last["reason"]
    assert "--allow-drift data_hash" in last["fix"]
    assert last["exit"] == 2
    assert _work(zygote, run, home, "--allow-drift", "data_hash") == 0
    assert tiny.events(run.path, "resumed")[-1]["allowed_drift"] == ["data_hash"]


def test_another_base_model_under_the_same_name_is_refused(
    zygote: Zygote, home: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "base"
    moved.symlink_to(model)
    run = tiny.prepared("run", moved, data, train={"num_epochs": 500})
    pid = zygote.start("work", path=str(run.path), home=str(home))
    _until(run, "checkpoint", step=2)
    os.kill(pid, signal.SIGTERM)
    assert zygote.wait(pid) == 0
    other = tiny.LlamaForCausalLM.from_pretrained(model)
    other.model.norm.weight.data += 0.01
    other.save_pretrained(tmp_path / "other")
    for file in model.glob("tokenizer*"):
        (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "other" / "chat_template.jinja").write_bytes(
        (model / "chat_template.jinja").read_bytes()
    )
    moved.unlink()
    moved.symlink_to(tmp_path / "other")
    assert _work(zygote, run, home) == 2
    assert "facts.model_hash" in _last(run)["reason"]


def test_a_second_worker_in_the_same_folder_is_refused(
    zygote: Zygote, home: Path, model: Path, data: Path
) -> None:
    run = tiny.prepared("run", model, data, train={"num_epochs": 500})
    pid = zygote.start("work", path=str(run.path), home=str(home))
    _until(run, "step", step=1)
    again = zygote.run("work_at_once", path=str(run.path), home=str(home))
    assert again == 99  # RunError, before anything is written
    os.kill(pid, signal.SIGTERM)
    assert zygote.wait(pid) == 0


def test_a_run_waits_for_the_device_says_why_and_can_be_stopped_there(
    zygote: Zygote, run: RunFolder, home: Path
) -> None:
    with DeviceLock("cpu", run="other"):
        pid = zygote.start("work", path=str(run.path), home=str(home))
        _until(run, "status", status="queued")
        assert "other" in _last(run)["reason"]
        os.kill(pid, signal.SIGTERM)
        assert zygote.wait(pid) == 0
    assert _last(run)["status"] == "stopped"
    assert not tiny.events(run.path, "phase")
