"""The warm pool: a child that may be slow, wrong or die without harm to its asker."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import PATIENCE_SECONDS, until

from tunery import i18n
from tunery.errors import DataError, TuneryError
from tunery.workers import entry
from tunery.workers.warm import QuestionBug, Superseded, WarmPool

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[WarmPool]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made = WarmPool("tests.web.warm_toys:QUESTIONS", warm=False)
    yield made
    made.close()


def test_an_answer_comes_back_with_its_types(pool: WarmPool):
    value = {"zh": "你好", "list": [1, 2.5, None, True]}
    assert pool.ask("echo", value=value) == value
    assert pool.is_warm


def test_the_language_of_the_asker_is_spoken(pool: WarmPool):
    with i18n.speaking("zh"):
        assert pool.ask("speak") == "zh"
    assert pool.ask("speak") == "en"


def test_an_error_for_people_comes_through_with_its_fields(pool: WarmPool):
    with pytest.raises(DataError) as raised:
        pool.ask("wrong")
    assert (raised.value.message, raised.value.fix, raised.value.code) == (
        "row 3: wrong.", "Mend it.", "E301",
    )  # fmt: skip
    assert raised.value.fields == {"row": 3}


def test_a_question_has_a_memory_limit_and_says_so(pool: WarmPool):
    assert pool.ask("most_data") is True
    with pytest.raises(TuneryError, match="not enough free memory") as raised:
        pool.ask("hoard")
    assert raised.value.code == "out_of_memory"


def test_a_bug_is_no_error_for_people(pool: WarmPool):
    with pytest.raises(QuestionBug, match="ZeroDivisionError"):
        pool.ask("broken")


def test_a_question_that_dies_says_so_and_harms_no_other(pool: WarmPool):
    with pytest.raises(TuneryError, match="status -9"):
        pool.ask("fatal")
    assert pool.ask("echo", value=1) == 1


def test_prints_and_long_answers_do_not_disturb_the_line(pool: WarmPool):
    assert pool.ask("noisy", size=300_000) == "é" * 300_000


def test_the_child_is_started_again_after_it_was_killed(pool: WarmPool):
    _, child = pool.ask("process")
    os.kill(child, signal.SIGKILL)
    assert pool.ask("process")[1] != child


def test_a_question_under_way_is_asked_again_when_the_child_dies(pool: WarmPool, tmp_path: Path):
    _, child = pool.ask("process")
    began, go = tmp_path / "began", tmp_path / "go"
    asked = _ask(pool, "wait_for", file=str(go), began=str(began))
    until(began.exists)
    began.unlink()
    os.kill(child, signal.SIGKILL)
    until(began.exists)
    go.touch()
    assert asked() == str(go)


def test_in_a_lane_the_newest_question_wins(pool: WarmPool, tmp_path: Path):
    began = tmp_path / "began"
    first = _ask(pool, "wait_for", lane="plan", file=str(tmp_path / "never"), began=str(began))
    until(began.exists)
    assert pool.ask("echo", lane="plan", value="new") == "new"
    assert isinstance(first(), Superseded)


def test_lanes_do_not_disturb_each_other(pool: WarmPool, tmp_path: Path):
    began, go = tmp_path / "began", tmp_path / "go"
    first = _ask(pool, "wait_for", lane="one", file=str(go), began=str(began))
    until(began.exists)
    assert pool.ask("echo", lane="two", value=2) == 2
    go.touch()
    assert first() == str(go)


def test_a_question_without_an_end_is_given_up(pool: WarmPool, tmp_path: Path):
    with pytest.raises(TuneryError, match=r"0\.2 seconds"):
        pool.ask("wait_for", timeout_seconds=0.2, file=str(tmp_path / "never"))
    assert pool.ask("echo", value=1) == 1


def test_an_idle_child_goes_and_comes_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made = WarmPool("tests.web.warm_toys:QUESTIONS", idle_seconds=0.05, warm=False)
    child = made.ask("process")[1]
    until(lambda: not made.is_warm)
    assert made.ask("process")[1] != child
    made.close()


def test_a_plan_of_the_demo_model_comes_from_the_warm_process(demo_home: Path):
    words = ["--data.train=instructions", "--train.num_epochs=1", "--train.batch_size=8"]
    warmed = WarmPool(entry.ENTRY["questions"])
    plan = warmed.ask("plan", words=words)
    assert plan["steps"]["all"] == -(-plan["rows"]["train"] // 8)
    assert plan["tokens"]["trained"] < plan["tokens"]["all"]
    assert plan["fits"]
    assert plan["memory"]["total"] > 0
    with pytest.raises(DataError, match="name"):
        warmed.ask("plan", words=["--data.train=identity"])
    warmed.close()


def _ask(pool: WarmPool, question: str, **arguments: Any) -> Callable[[], Any]:
    """Ask in a thread; the returned function waits and gives the answer or the error."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(pool.ask(question, **arguments))
        except TuneryError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def wait() -> Any:
        thread.join(PATIENCE_SECONDS)
        return found[0]

    return wait
