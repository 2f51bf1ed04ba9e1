"""The live display of a run that is given its events all at once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tunery.cli import chat_scores, config, export, watch
from tunery.cli.live import LiveView
from tunery.services import words
from tunery.services.chat import Scored
from tunery.services.export import Exported
from tunery.services.runs import Answers


def test_a_run_that_ended_between_two_looks_still_shows_its_last_step() -> None:
    written = io.StringIO()
    view = LiveView(Console(file=written, force_terminal=True, width=100))
    view.show(
        [
            {"type": "plan", "num_steps": 6, "trained_parameters": 10, "total_parameters": 100},
            {"type": "phase", "phase": "train", "state": "begin"},
            {"type": "step", "step": 5, "loss": 2.5, "epoch": 0.8},
            {"type": "step", "step": 6, "loss": 2.25, "epoch": 1.0},
            {"type": "phase", "phase": "train", "state": "end", "seconds": 0.1},
        ]
    )
    view.close()
    drawn = written.getvalue()
    for text in ("6/6", "━", "100%", "2.25"):
        assert text in drawn
    assert "5/6" not in drawn
    assert "left" not in drawn


@pytest.mark.parametrize(("steps", "said"), [(10, " 900 tokens"), (7, " about 900 tokens")])
def test_tokens_of_part_of_an_epoch_are_an_estimate(steps: int, said: str) -> None:
    plan = {
        "num_steps": steps, "steps_per_epoch": 5, "trained_parameters": 1, "total_parameters": 2,
        "tokens": 900,
    }  # fmt: skip
    assert said in words.plan_line(plan)


def test_the_display_says_what_is_done_between_steps_and_never_that_no_time_is_left() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    view = LiveView(console)
    plan = {"type": "plan", "num_steps": 6, "trained_parameters": 10, "total_parameters": 100}
    view.show([plan, {"type": "phase", "phase": "train", "state": "begin"}])
    doing = {"type": "phase", "phase": "train", "state": "doing"}

    def drawn(*events: dict[str, Any]) -> str:
        view.show(list(events))
        with console.capture() as captured:
            console.print(view._draw())
        return captured.get()

    def step(number: int, left: float) -> dict[str, Any]:
        return {
            "type": "step", "step": number, "loss": 2.5, "epoch": 0.8, "eta_seconds": left,
        }  # fmt: skip

    assert "2.0 s left" in drawn(step(5, 2.0))
    said = drawn({**doing, "doing": "evaluation", "count": 30})
    assert "evaluating 30 rows ..." in said
    assert "left" not in said
    assert "5/6" in said
    assert "20.0 s left" not in drawn({**doing, "doing": "", "count": None})
    assert "left" not in drawn(step(6, 0.0))
    assert "saving ..." in drawn({**doing, "doing": "save", "count": None})
    view.close()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            -0.1098,
            "Forgetting: -0.11 nats per token (answers to general prompts did not get worse)",
        ),
        (0.0001, "Forgetting: 0.00 nats per token (answers to general prompts did not get worse)"),
        (0.11, "Forgetting: +0.11 nats per token (answers to general prompts got slightly worse)"),
        (0.4, "Forgetting: +0.40 nats per token (answers to general prompts got worse)"),
    ],
)
def test_forgetting_is_said_with_its_meaning(value: float, said: str) -> None:
    assert watch._forgetting(value).plain == said


@pytest.mark.parametrize(
    ("ties", "said"),
    [
        (5, "The export matches within rounding: 15 of 20 answers are identical, 5 diverge where "
            "two tokens were almost equally likely."),
        (0, "The export matches: 20 of 20 answers are identical."),
    ],
)  # fmt: skip
def test_an_export_says_what_was_compared(
    ties: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(export, "out", written)
    parity = {
        "same_answers": 20 - ties, "num_prompts": 20, "near_ties": ties,
        "max_logit_difference": 1.5, "mean_kl": 0.0131,
    }  # fmt: skip
    limits = {"max_logit_difference": 4.0, "mean_kl": 0.02}
    report = {
        "format": "merged", "dtype": "bf16", "parity": parity, "limits": limits, "files": [],
    }  # fmt: skip
    export._show(Exported(Path("out"), report))
    told = " ".join(written.file.getvalue().split())  # type: ignore[attr-defined]
    assert said in told
    assert (
        "Largest logit difference 1.5 (allowed: 4); KL divergence 0.013 nats on average "
        "(allowed: 0.02)."
    ) in told


LONG = "我是一个大型语言模型，由一家公司训练，可以回答问题、写作、翻译和编写程序。" * 6 + "END"


def squeezed(written: io.StringIO) -> str:
    """What was drawn without spaces and line ends."""
    return "".join(written.getvalue().split())


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)


@pytest.mark.parametrize("width", [40, 80])
def test_answers_before_and_after_are_whole_at_every_width(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    console = terminal(width)
    monkeypatch.setattr(watch, "out", console)
    watch._answers([Answers("Who?", LONG, "/a/path/" + "x" * 90)])
    assert isinstance(console.file, io.StringIO)
    assert "…" not in console.file.getvalue()
    columns = [line[22:48] for line in console.file.getvalue().splitlines()]
    assert "END" in squeezed(console.file) or "END" in "".join("".join(columns).split())


def test_an_answer_that_reached_its_limit_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (40, 80):
        console = terminal(width)
        monkeypatch.setattr(watch, "out", console)
        watch._answers([Answers("Who?", "I am", "Tuna.", before_cut=True)])
        assert isinstance(console.file, io.StringIO)
        assert "I am [cut off]" in console.file.getvalue()
        assert "Tuna. [cut off]" not in console.file.getvalue()
        assert "evaluate.max_new_tokens" in console.file.getvalue()


def test_a_sample_in_the_live_view_is_wrapped_not_cut() -> None:
    console = terminal(60)
    view = LiveView(console)
    view.show([{"type": "sample", "stage": "eval", "step": 3, "prompt": "Who?", "answer": LONG}])
    view.close()
    assert isinstance(console.file, io.StringIO)
    assert "…" not in console.file.getvalue()
    assert LONG in squeezed(console.file)


def test_a_scored_answer_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal(60)
    monkeypatch.setattr(chat_scores, "out", console)
    chat_scores._show([Scored(LONG, 0.5, 10)])
    assert isinstance(console.file, io.StringIO)
    assert LONG in squeezed(console.file)


def test_a_long_value_of_a_setting_is_wrapped_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal(60)
    monkeypatch.setattr(config, "out", console)
    config.show(f"--evaluate.prompts={LONG}", origins=True)
    assert isinstance(console.file, io.StringIO)
    assert "END" in console.file.getvalue()
