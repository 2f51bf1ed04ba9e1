"""The live topics of runs: exact cursors, small messages, runs of other windows."""

from __future__ import annotations

import json
import os

import pytest

from tunery.config.config import Config
from tunery.runs import store
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create
from tunery.server import runs_topic
from tunery.services import runs
from tunery.services.runs import _list
from tunery.workers.folder import write_json
from tunery.workers.process import try_lock


def steps(writer: EventWriter, first: int, last: int, loss: float = 1.0) -> None:
    for step in range(first, last + 1):
        writer.write("step", step=step, epoch=step / 10, loss=loss, learning_rate=1e-3)


@pytest.fixture
def run(home) -> RunFolder:
    return create("mine", Config(), {})


class Page:
    """A page in small: it applies messages as static/js/pages/run.js does."""

    def __init__(self) -> None:
        self.cursor, self.steps, self.events, self.status = "", {}, [], ""
        self.messages = 0

    def read(self, name: str = "mine") -> Page:
        messages, self.cursor = runs.RunTopic().read(name, self.cursor)
        for message in messages:
            self.messages += 1
            assert message["topic"] == f"run:{name}"
            match message["kind"]:
                case "reset":
                    self.steps, self.events = {}, []
                case "cut":
                    self.steps = {s: v for s, v in self.steps.items() if s <= message["step"]}
                case "steps":
                    for step, loss in zip(message["step"], message["loss"], strict=True):
                        assert step > max(self.steps, default=0), "a step came twice"
                        self.steps[step] = loss
                case "event":
                    self.events.append(message["event"]["seq"])
                case "state":
                    self.status = message["run"]["status"]
        return self


def test_every_event_comes_once_however_often_one_asks(run) -> None:
    page = Page()
    with EventWriter(run.events_file) as writer:
        writer.write("status", status="running")
        for first in range(1, 40, 3):
            steps(writer, first, first + 2)
            if first % 2:
                writer.write("eval", step=first + 2, loss=0.5)
            page.read()
            page.read()
    assert sorted(page.steps) == list(range(1, 40))
    assert len(page.events) == len(set(page.events)) == 8


def test_a_page_that_comes_back_later_misses_nothing(run) -> None:
    page = Page()
    with EventWriter(run.events_file) as writer:
        steps(writer, 1, 10)
        page.read()
        steps(writer, 11, 60)
        page.read()
    assert sorted(page.steps) == list(range(1, 61))
    quiet = page.messages
    page.read()
    assert page.messages == quiet


def test_a_resumed_run_cuts_the_steps_it_does_again(run) -> None:
    page = Page()
    with EventWriter(run.events_file) as writer:
        steps(writer, 1, 10, loss=3.0)
        page.read()
        steps(writer, 11, 12, loss=3.0)
        writer.write("resumed", step=8, checkpoint="step-00000008")
        steps(writer, 9, 11, loss=1.0)
        page.read()
    assert page.steps == {**dict.fromkeys(range(1, 9), 3), 9: 1, 10: 1, 11: 1}


def test_who_fell_far_behind_is_told_so_in_a_small_message(run) -> None:
    with EventWriter(run.events_file) as writer:
        steps(writer, 1, 5000)
    messages, _ = runs.RunTopic().read("mine", "")
    assert {"topic": "run:mine", "kind": "behind", "last": 5000} in messages
    assert len(json.dumps(messages)) < 40_000


def test_a_new_run_of_the_same_name_resets_the_page(run) -> None:
    page = Page()
    with EventWriter(run.events_file) as writer:
        steps(writer, 1, 5, loss=3.0)
    page.read()
    run.events_file.rename(run.path / "old")
    with EventWriter(run.events_file) as writer:
        steps(writer, 1, 2, loss=1.0)
    page.read()
    assert page.steps == {1: 1, 2: 1}


def test_a_run_that_is_deleted_is_said_to_be_gone_once(run) -> None:
    page = Page()
    page.read()
    store.delete("mine")
    messages, cursor = runs.RunTopic().read("mine", page.cursor)
    assert [m["kind"] for m in messages] == ["removed"]
    assert runs.RunTopic().read("mine", cursor)[0] == []


def test_a_death_without_a_last_word_is_news(run) -> None:
    page = Page()
    page.read()
    assert page.status == "interrupted"  # prepared, and its worker never started
    page.read()
    with EventWriter(run.events_file) as writer:
        writer.write("status", status="finished")
    assert page.read().status == "finished"


def test_a_cause_that_is_known_only_after_the_death_is_news(run) -> None:
    page = Page()
    page.read()
    quiet = page.messages
    page.read()
    assert page.messages == quiet
    write_json(run.exit_file, {"signal": 9, "oom_kills": 1})
    messages, page.cursor = runs.RunTopic().read("mine", page.cursor)
    assert [m["run"]["status"] for m in messages] == ["interrupted"]
    assert "out of memory" in messages[0]["run"]["reason"]
    assert page.read().messages == quiet


def test_the_list_tells_changes_and_runs_made_elsewhere(home, monkeypatch) -> None:
    monkeypatch.setattr(runs_topic, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(_list, "FRESH_SECONDS", 0.0)
    topic = runs_topic.RunsTopic()
    messages, cursor = topic.read("", "")
    assert messages == [{"kind": "snapshot", "items": []}]
    folder = create("terminal", Config(), {})
    messages, cursor = topic.read("", cursor)
    assert [run["name"] for run in messages[0]["items"]] == ["terminal"]
    assert topic.read("", cursor)[0] == []
    with EventWriter(folder.events_file) as writer:
        steps(writer, 1, 3)
    messages, cursor = topic.read("", cursor)
    assert messages[0]["items"][0]["step"] == 3
    put = store.move_to_trash("terminal")
    messages, cursor = topic.read("", cursor)
    assert messages == [{"kind": "changed", "items": [], "removed": ["terminal"]}]
    store.restore(put.token)
    messages, cursor = topic.read("", cursor)
    assert messages[0]["items"][0]["name"] == "terminal"


def test_of_many_runs_a_new_reader_gets_the_newest_and_those_at_work(home, monkeypatch) -> None:
    monkeypatch.setattr(runs_topic, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(runs_topic, "NEWEST", 2)
    for number, name in enumerate(("a", "b", "c", "d")):
        folder = create(name, Config(), {})
        write_json(folder.card_file, {**folder.card(), "created": 1000.0 + number})
        with EventWriter(folder.events_file) as writer:
            writer.write("status", status="finished")
    lock = try_lock(RunFolder(home / "runs" / "a").lock_file)
    assert lock is not None
    RunFolder(home / "runs" / "a").events_file.unlink()  # it has said nothing yet: queued
    (snapshot,), _ = runs_topic.RunsTopic().read("", "")
    assert sorted(run["name"] for run in snapshot["items"]) == ["a", "c", "d"]
    os.close(lock)


def test_of_many_runs_few_are_looked_at_each_time_and_all_in_turn(home, monkeypatch) -> None:
    monkeypatch.setattr(_list, "NEWEST", 3)
    monkeypatch.setattr(_list, "IN_TURN", 5)
    for number in range(30):
        folder = create(f"r{number:02}", Config(), {})
        write_json(folder.card_file, {**folder.card(), "created": 1000.0 + number})
        with EventWriter(folder.events_file) as writer:
            writer.write("status", status="finished")
    roll = _list.RunList(home / "runs")
    first = roll.look()
    assert [run.name for run in first] == [f"r{number:02}" for number in reversed(range(30))]
    looked: list[str] = []
    real = _list._signature
    monkeypatch.setattr(_list, "_signature", lambda path: looked.append(path.name) or real(path))
    assert roll.look() is first  # nothing to compare or to send where nothing changed
    assert len(looked) <= 8
    with EventWriter(RunFolder(home / "runs" / "r00").events_file) as writer:
        writer.write("status", status="failed")
    looks = [{run.name: run.status for run in roll.look()}["r00"] for _ in range(6)]
    assert looks[-1] == "failed"
    assert set(looked) == {f"r{number:02}" for number in range(30)}
    store.move_to_trash("r07")
    assert len(roll.look()) == 29


def test_the_table_finds_sorts_and_pages(home) -> None:
    for number, name in enumerate(("a", "b", "c")):
        folder = create(name, Config(), {})
        with EventWriter(folder.events_file) as writer:
            steps(writer, 1, 3, loss=float(number))
            writer.write("eval", step=3, loss=2.0 - number / 10)
            writer.write("status", status="failed" if name == "b" else "finished", reason="")
    found = _list.find(_list.Query(sort="best", descending=False))
    assert [r.state.name for r in found.rows] == ["c", "b", "a"]
    assert found.counts == {"running": 0, "done": 2, "failed": 1}
    assert found.rows[0].facts.learning_rate == Config().optim.learning_rate
    assert found.rows[0].facts.spark.count(",") == 3
    assert [r.state.name for r in _list.find(_list.Query(status="failed")).rows] == ["b"]
    second = _list.find(_list.Query(page=2, page_size=2, sort="name", descending=False))
    assert ([r.state.name for r in second.rows], second.total) == (["c"], 3)
