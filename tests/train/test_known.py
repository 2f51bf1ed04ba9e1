"""What earlier runs measured of a base model is used again, and only where nothing has changed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import tiny

from tunery import env
from tunery.data.groups import TokenRow
from tunery.policy.policy import Policy
from tunery.train.measure import evaluate
from tunery.train.measure.evaluate import answer_ids, mean_nll
from tunery.train.measure.known import Known

FACTS = {"model_hash": "m", "dtype": "float32", "template_hash": "t"}
PROMPTS = [[3, 4, 5], [6, 7]]


@pytest.fixture
def asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the model itself was asked."""
    seen: list[str] = []
    inner: Any = evaluate.decoder.Decoder.answer

    def answer(self: Any, *args: Any, **settings: Any) -> Any:
        seen.append("answers")
        return inner(self, *args, **settings)

    def logprobs(self: Policy, batch: Any) -> Any:
        seen.append("logprobs")
        return told(self, batch)

    told: Callable[..., Any] = Policy.logprobs
    monkeypatch.setattr(evaluate.decoder.Decoder, "answer", answer)
    monkeypatch.setattr(Policy, "logprobs", logprobs)
    return seen


def answers(known: Known | None, prompts: list[list[int]] = PROMPTS, **settings: Any) -> Any:
    model = tiny.model(torch.float32).eval()
    return answer_ids(model, prompts, {1}, settings.pop("max_tokens", 6), known=known, **settings)


def nll(known: Known | None, rows: list[TokenRow], capacity: int = 64) -> float:
    return mean_nll(Policy(tiny.model(torch.float32)), rows, capacity=capacity, known=known)


def test_answers_are_asked_for_once_and_stay_the_same(asked: list[str]) -> None:
    first = answers(Known(FACTS))
    assert asked == ["answers"]
    assert answers(Known(FACTS)) == first == answers(None)
    assert asked == ["answers", "answers"]  # the second is that of nobody's memory


def test_a_loss_is_the_same_to_the_last_bit(asked: list[str]) -> None:
    rows = tiny.rows()[:5]
    first = nll(Known(FACTS), rows)
    count = len(asked)
    assert nll(Known(FACTS), rows) == first
    assert len(asked) == count
    assert nll(None, rows) == first


@pytest.mark.parametrize("changed", sorted(FACTS))
def test_another_model_dtype_or_template_is_asked_itself(asked: list[str], changed: str) -> None:
    answers(Known(FACTS))
    answers(Known({**FACTS, changed: "other"}))
    assert asked == ["answers", "answers"]


def test_another_question_is_asked_itself(asked: list[str]) -> None:
    known, rows = Known(FACTS), tiny.rows()[:5]
    answers(known)
    answers(known, [[3, 4, 5], [6, 8]])
    answers(known, max_tokens=7)
    answers(known.with_adapter(settings={"rank": 4}, seed=1))
    answers(known.with_adapter(settings={"rank": 4}, seed=2))
    assert asked == ["answers"] * 5
    other = [*rows[:4], TokenRow(rows[4].input_ids, ~rows[4].loss_mask)]
    values = [nll(known, rows), nll(known, rows, capacity=200), nll(known, other)]
    assert all(math.isfinite(value) for value in values)
    assert values[0] != values[2]


def test_another_number_of_threads_is_another_value(asked: list[str]) -> None:
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            answers(Known(FACTS))
    finally:
        torch.set_num_threads(threads)
    assert asked == ["answers", "answers"]


def test_what_a_stop_cut_is_not_kept(asked: list[str]) -> None:
    cut = answers(Known(FACTS), should_stop=lambda: True)
    assert {answer.ending for answer in cut} == {"interrupted"}
    whole = answers(Known(FACTS))
    assert {answer.ending for answer in whole} != {"interrupted"}
    nll_cut = mean_nll(
        Policy(tiny.model(torch.float32)), tiny.rows(), capacity=64, known=Known(FACTS),
        should_stop=lambda: True,
    )  # fmt: skip
    assert math.isnan(nll_cut)
    assert math.isfinite(nll(Known(FACTS), tiny.rows()))


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"other": 1}'])
def test_a_damaged_file_is_computed_again(asked: list[str], damage: str) -> None:
    first = answers(Known(FACTS))
    (file,) = (env.cache_dir() / "known").iterdir()
    file.write_text(damage)
    assert answers(Known(FACTS)) == first
    assert asked == ["answers", "answers"]
    assert answers(Known(FACTS)) == first  # and it was kept again
    assert len(asked) == 2


def test_a_cache_that_cannot_be_written_stops_nothing(asked: list[str]) -> None:
    env.cache_dir().mkdir(parents=True, exist_ok=True)
    (env.cache_dir() / "known").write_text("a file where the folder should be")
    assert answers(Known(FACTS)) == answers(None)


def test_the_oldest_go(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunery.train.measure.known.MAX_FILES", 3)
    known = Known(FACTS)
    for number in range(5):
        known.keep(number, about=number)
    assert len(list((env.cache_dir() / "known").iterdir())) == 3
    assert known.recall(about=4) == 4
    assert known.recall(about=0) is None


def test_a_second_run_is_the_first_to_the_bit(asked: list[str], tmp_path: Path) -> None:
    """Through the real worker: replay, answers, forgetting; then without what was kept."""
    folder = tiny.folder(tmp_path / "base")
    digests, questions = [], []
    for name in ("first", "second", "third"):
        if name == "third":
            shutil.rmtree(env.cache_dir() / "known")
        asked.clear()
        digests.append(_whole_run(tmp_path / name, folder))
        questions.append(asked.count("answers"))
    assert digests[0] == digests[1] == digests[2]
    replay_and_before = 2
    assert questions == [questions[0], questions[0] - replay_and_before, questions[0]]


def _whole_run(path: Path, base: Path) -> Any:
    from tunery.train.session import run

    settings = tiny.config(
        model={"name": str(base)},
        data={"train": ["identity"], "variables": {"name": "A", "author": "B"},
              "max_length": 256,
              "replay": {"num_prompts": 3, "max_new_tokens": 4}},
        evaluate={"every": "epoch", "forgetting": True, "prompts": ["hi"], "max_new_tokens": 4},
        train={"max_steps": 2},
    )  # fmt: skip
    place = tiny.context(path, settings)
    with place.events:
        assert run(place) == "finished"
    measured = [
        {k: v for k, v in event.items() if k not in ("time", "clock", "seq")}
        for event in tiny.events(path)
        if event["type"] in ("sample", "eval")
    ]
    return tiny.digest(path), (path / "replay.jsonl").read_bytes(), measured


def test_the_ways_that_hold_are_found_out_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunery.policy import shortcuts

    tried: list[str] = []
    probe: Any = shortcuts._probe
    monkeypatch.setattr(shortcuts, "_probe", lambda base: tried.append("") or probe(base))
    models = [tiny.model(torch.float32) for _ in range(3)]
    ways = [shortcuts.prepare(model, Known(FACTS)) for model in models[:2]]
    assert len(tried) == 1
    assert ways[0] == ways[1] == shortcuts.prepare(models[2])
    rows = tiny.rows()[:5]
    values = [mean_nll(Policy(model), rows, capacity=200) for model in models]
    assert ways[1].packed
    assert values[0] == values[1] == values[2]  # the packed attention is there too


@pytest.mark.parametrize("changed", ["cpu_name", "_code"])
def test_another_processor_or_other_code_is_another_value(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    answers(Known(FACTS))
    monkeypatch.setattr(f"tunery.train.measure.known.{changed}", lambda: "changed")
    answers(Known(FACTS))
    assert asked == ["answers", "answers"]
