"""The live display of a run that is given its events all at once."""

from __future__ import annotations

import io

from rich.console import Console

from tunery.cli.live import LiveView


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
