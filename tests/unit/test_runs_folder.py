"""Run folders: names, creation, lists and deletion."""

from __future__ import annotations

import datetime
import os
import sys
import threading
import time

import pytest

from tunery.config.config import Config
from tunery.config.data import DataConfig
from tunery.config.load import read_frozen, read_frozen_meta
from tunery.errors import RunError
from tunery.runs import store
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create, default_name, names, open_run
from tunery.workers.process import try_lock

CONFIG = Config(data=DataConfig(train=["identity"], variables={"name": "Tuna"}))


def test_a_run_is_named_by_day_subject_and_method() -> None:
    today = datetime.date(2026, 11, 24)
    assert default_name(CONFIG, today=today) == "2026-11-24-tuna-sft"
    named = Config(data=DataConfig(train=["/data/My Rows.jsonl*2"]))
    assert default_name(named, today=today) == "2026-11-24-my-rows-sft"
    chinese = Config(data=DataConfig(train=["identity"], variables={"name": "金枪鱼"}))
    assert default_name(chinese, today=today) == "2026-11-24-identity-sft"
    assert default_name(Config(), today=today) == "2026-11-24-demo-sft"


def test_a_default_name_that_is_taken_gets_a_number() -> None:
    first, second, third = (create(None, CONFIG, {}) for _ in range(3))
    assert second.name == f"{first.name}-2"
    assert third.name == f"{first.name}-3"
    assert names() == sorted([first.name, second.name, third.name])


def test_a_new_folder_holds_its_config_and_what_it_was_made_with() -> None:
    run = create("mine", CONFIG, {"data_hash": "abc", "versions": {"torch": "2"}})
    assert read_frozen(run.config_file) == CONFIG
    assert read_frozen_meta(run.config_file) == {"data_hash": "abc", "versions": {"torch": "2"}}
    assert run.card()["data"] == ["identity"]


def test_a_name_that_exists_is_refused_with_what_to_do() -> None:
    create("mine", CONFIG, {})
    with pytest.raises(RunError, match="--name mine: a run with this name") as caught:
        create("mine", CONFIG, {})
    assert "tunery runs resume mine" in caught.value.fix
    assert "tunery runs delete mine" in caught.value.fix


@pytest.mark.parametrize(
    "name", ["", "../x", "Mine", "a/b", ".hidden", "-x", "x" * 65, "a b", "名"]
)
def test_a_name_that_could_leave_the_folder_is_refused(name) -> None:
    with pytest.raises(
        RunError,
        match="is not a valid run name",
    ):
        create(name or "/", CONFIG, {})
    assert names() == []


def test_many_creations_at_once_never_share_a_folder() -> None:
    made: list[str] = []
    refused: list[str] = []

    def make(name: str | None) -> None:
        try:
            made.append(create(name, CONFIG, {}).name)
        except RunError as error:
            refused.append(error.message)

    threads = [threading.Thread(target=make, args=(None,)) for _ in range(20)]
    threads += [threading.Thread(target=make, args=("one",)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 21
    assert len(refused) == 9
    assert sorted(made) == names()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named_with_the_user(home) -> None:
    home.mkdir()
    home.chmod(0o500)
    with pytest.raises(RunError, match=f"User ID {os.geteuid()} cannot write to .*runs"):
        create("mine", CONFIG, {})
    home.chmod(0o700)


def test_an_unknown_run_is_answered_with_the_nearest(home) -> None:
    create("tuna-sft", CONFIG, {})
    with pytest.raises(RunError, match="Run 'tuna-stf' not found") as caught:
        open_run("tuna-stf")
    assert caught.value.fix == "Did you mean tuna-sft? List them with: tunery runs list"
    assert open_run(home / "runs" / "tuna-sft").name == "tuna-sft"


def test_deleting_takes_the_folder_and_what_earlier_deletions_left(home) -> None:
    run = create("mine", CONFIG, {})
    (home / "runs" / ".trash-old-1").mkdir()
    (home / "runs" / ".new-half-999999999-ab").mkdir()
    (home / "runs" / f".new-busy-{os.getpid()}-ab").mkdir()
    assert store.delete("mine") > 0
    assert not run.path.exists()
    assert [p.name for p in (home / "runs").iterdir()] == [f".new-busy-{os.getpid()}-ab"]


def test_a_run_in_use_is_not_deleted() -> None:
    run = create("mine", CONFIG, {})
    lock = try_lock(run.lock_file)
    assert lock is not None
    with pytest.raises(RunError, match="is active and was not deleted"):
        store.delete("mine")
    os.close(lock)
    assert run.config_file.exists()


def test_a_thousand_runs_are_listed_quickly_and_a_long_log_costs_no_more(home) -> None:
    template = create("r0000", CONFIG, {})
    with EventWriter(template.events_file) as events:
        events.write("plan", num_steps=3000, trained_parameters=1, total_parameters=2)
        for step in range(1, 3001):
            events.write("step", step=step, epoch=1.0, loss=1 / step, learning_rate=1e-3)
        events.write("status", status="finished")
    for number in range(1, 300):
        folder = RunFolder(home / "runs" / f"r{number:04}")
        folder.path.mkdir()
        for file in (template.config_file, template.card_file, template.events_file):
            os.link(file, folder.path / file.name)
    began = time.process_time()
    runs = store.list_runs()
    spent = time.process_time() - began
    assert len(runs) == 300
    assert {(r.status, r.step, r.num_steps) for r in runs} == {("finished", 3000, 3000)}
    assert spent < 1.5, "a list of 1,000 runs would take more than 5 s of this CPU"
    print(f"{spent / 300 * 1000:.2f} s for 1,000 runs", file=sys.stderr)
