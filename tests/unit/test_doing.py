"""What a run does within a phase, and how far it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunery import i18n
from tunery.config.config import Config
from tunery.runs import context as contexts
from tunery.runs.context import RunContext
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder
from tunery.runs.signals import StopRequests
from tunery.services import words
from tunery.workers.log import read_events
from tunery.workers.process import Control


@pytest.mark.parametrize(
    ("what", "count", "done", "said"),
    [
        ("answers", 1, 0, "answering 1 prompt"),
        ("answers", 5, 0, "answering 5 prompts"),
        ("answers", 5, 2, "answering prompts: 2 of 5"),
        ("evaluation", 30, 0, "evaluating 30 rows"),
        ("evaluation", 3000, 1200, "evaluating rows: 1,200 of 3,000"),
        ("forgetting", 20, 0, "measuring forgetting"),
        ("forgetting", 20, 8, "measuring forgetting: 8 of 20 rows"),
        ("save", None, 0, "saving"),
        ("", None, 0, ""),
    ],
)
def test_what_a_run_does_is_said(what: str, count: int | None, done: int, said: str):
    assert words.doing({"doing": what, "count": count, "done": done}) == said


def test_events_of_older_runs_have_no_number_done():
    assert words.doing({"doing": "evaluation", "count": 30}) == "evaluating 30 rows"


def test_it_is_said_in_chinese():
    with i18n.speaking("zh"):
        event = {"doing": "evaluation", "count": 30, "done": 12}
        assert words.doing(event) == "正在评估：12/30 行"


def test_the_number_done_is_logged_at_most_once_per_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = [100.0]
    monkeypatch.setattr(contexts.time, "monotonic", lambda: clock[0])
    folder = RunFolder(tmp_path)
    folder.control_dir.mkdir()
    with EventWriter(folder.events_file) as events:
        run = RunContext(folder, Config(), {}, events, StopRequests(Control(folder)), "cpu")
        report = run.counting("evaluation", 30)
        for done, at in [(1, 100.2), (2, 100.9), (12, 101.5), (13, 101.6), (30, 102.7)]:
            clock[0] = at
            report(done)
    written = [event["done"] for event in read_events(folder.events_file)[0]]
    assert written == [0, 12, 30]
