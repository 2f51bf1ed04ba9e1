"""Runs: plan, prepare, start, follow, stop, resume, view and compare them, and their metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.services._facade import names_of

if TYPE_CHECKING:
    from tunery.services.runs._archive import archive, chunks
    from tunery.services.runs._checkpoints import delete_checkpoint
    from tunery.services.runs._comparing import (
        Comparison,
        ResultLine,
        compare,
        comparison_as_dict,
        loss_curve,
    )
    from tunery.services.runs._drawing import write_curves
    from tunery.services.runs._lifecycle import (
        Answers,
        Outcome,
        ask_to_stop,
        end,
        failure,
        follow_run,
        grace,
        outcome,
        request_stop,
        resume,
        start,
        stop,
    )
    from tunery.services.runs._list import Found, Query, RunList, RunRow, find, run_list
    from tunery.services.runs._log import event_lines, log_lines
    from tunery.services.runs._marks import change_marks
    from tunery.services.runs._metrics import MAX_POINTS, metrics, run_log
    from tunery.services.runs._planning import Plan, Trial, plan
    from tunery.services.runs._preparing import Listener, prepare, quiet
    from tunery.services.runs._ranking import Ranked, ranked
    from tunery.services.runs._record import Made, failure_report, first_batch, made
    from tunery.services.runs._starting import start_once
    from tunery.services.runs._tracking import track_again
    from tunery.services.runs._updates import RunTopic, cursor_of
    from tunery.services.runs._verifying import verify
    from tunery.services.runs._view import RunView, samples, view
else:
    __getattr__ = names_of(__file__, __name__)

__all__ = [
    "MAX_POINTS", "Answers", "Comparison", "Found", "Listener", "Made", "Outcome", "Plan",
    "Query", "Ranked", "ResultLine", "RunList", "RunRow", "RunTopic", "RunView", "Trial",
    "archive", "ask_to_stop", "change_marks", "chunks", "compare", "comparison_as_dict",
    "cursor_of", "delete_checkpoint", "end", "event_lines", "failure", "failure_report", "find",
    "first_batch", "follow_run", "grace", "log_lines", "loss_curve", "made", "metrics", "outcome",
    "plan", "prepare", "quiet", "ranked", "request_stop", "resume", "run_list", "run_log",
    "samples", "start", "start_once", "stop", "track_again", "verify", "view", "write_curves",
]  # fmt: skip
