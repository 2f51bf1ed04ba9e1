"""The time that `tunery plan` names covers the whole run, and the name is checked as in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.train import tiny

from tunery.config.load import from_tokens
from tunery.errors import RunError
from tunery.runs.folder import RunFolder
from tunery.services.runs import Listener, plan

FOUND: dict[str, Any] = {
    "rows": 40, "tokens": 4000, "trained_tokens": 2000, "longest": 200, "mean": 100.0,
    "held_out": 0, "held_out_trained_tokens": 0, "replay_rows": 0,
    "num_steps": 10, "steps_per_epoch": 5,
    "pauses": {"start": 1, "evaluation": 2, "answers": 2, "save": 3},
    "device": "cpu", "dtype": "float32", "available_bytes": 2**36, "rows_event": {},
    "parameters": {"trained": 1000, "all": 10000, "linear": [1, 1]}, "warnings": [],
}  # fmt: skip
MEASURED = {
    "tokens_per_second": 100.0, "peak_bytes": 2**20, "micro_batch_tokens": 200,
    "trained_parameters": 1000, "steps": 5,
    "pauses": {"start": 7.0, "evaluation": 5.0, "answers": 3.0},
}  # fmt: skip


def test_the_time_counts_the_start_the_steps_and_the_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = _loaded(tmp_path)

    def trial(folder: RunFolder, measure: bool) -> dict[str, Any]:
        return {**FOUND, "measured": MEASURED} if measure else FOUND

    found = plan(loaded, measure=True, trial=trial)
    # 2 epochs of 4000 tokens at 100 a second; a save was not measured and counts nothing.
    assert found.seconds == 80.0 + 7.0 + 2 * 5.0 + 2 * 3.0
    assert plan(loaded, trial=trial).seconds is None


@pytest.mark.parametrize("measure", [False, True])
def test_a_terminal_is_told_what_is_done_meanwhile(tmp_path: Path, measure: bool) -> None:
    told: list[str] = []
    trial = {**FOUND, "measured": MEASURED}
    plan(
        _loaded(tmp_path),
        measure=measure,
        trial=lambda *_: trial if measure else FOUND,
        to=Listener(doing=told.append),
    )
    last = "taking a few steps to measure memory and time" if measure else "counting tokens"
    assert told == ["reading and checking the rows", "looking at the model", last]


def test_a_dry_run_refuses_the_names_that_a_run_refuses(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a valid run name"):
        plan(_loaded(tmp_path), name="Bad Name", trial=lambda *_: FOUND)


def _loaded(place: Path) -> Any:
    rows = tiny.chats(place / "rows.jsonl")
    words = ["--data.train", str(rows), "--model.name", str(tiny.folder(place / "model"))]
    return from_tokens(words, options=())
