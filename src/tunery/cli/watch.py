"""Follow a run in a terminal: Ctrl-C, the end, and the summary of its outcome."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rich.table import Table
from rich.text import Text

from tunery.cli.console import out, print_error
from tunery.cli.live import View, print_line, view_for
from tunery.cli.wrapping import prose
from tunery.commands import quoted
from tunery.i18n import t
from tunery.runs.diagnosis import FORGETTING_NOISE, FORGETTING_REPORTED
from tunery.runs.folder import RunFolder
from tunery.runs.status import derive
from tunery.services import runs, words
from tunery.services.words import signed

EXIT_INTERRUPTED = 130
COLUMNS_FROM = 60
"""Minimum width of a terminal for answers side by side."""

Ending = Literal["ended", "left"]


class Signals:
    """Counts SIGINT and SIGTERM instead of exiting on them, within a block."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def counted(self) -> Iterator[Signals]:
        """Count until the block ends, then restore the previous handlers."""

        def count(_number: int, _frame: object) -> None:
            self.count += 1

        before = {n: signal.signal(n, count) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def watch(
    folder: RunFolder,
    *,
    offset: int = 0,
    as_json: bool = False,
    own: bool = True,
    checked: bool = False,
) -> int:
    """Show a run until it ends.

    Args:
        folder: The run.
        offset: Where to start in its events.
        as_json: Print JSON lines, the last one the outcome.
        own: Whether Ctrl-C stops the run (it was started here) or only stops watching.
        checked: Whether the warnings of the data check were already shown.

    Returns:
        The exit status: 0 if it succeeded, 1 if it failed, 130 after Ctrl-C.
    """
    view = view_for(out, as_json=as_json, checked=checked)
    signals = Signals()
    with signals.counted():
        try:
            ending = _follow(folder, view, signals, offset, own)
        finally:
            view.close()
    if ending == "left":
        return EXIT_INTERRUPTED
    status = conclude(folder, as_json=as_json)
    return EXIT_INTERRUPTED if own and signals.count and status == 0 else status


def _follow(folder: RunFolder, view: View, signals: Signals, offset: int, own: bool) -> Ending:
    asked: float | None = None
    for events in runs.follow_run(folder, offset):
        view.show(events)
        if signals.count and not own:
            view.say(t("The run continues. Watch it again: tunery runs follow {run}",
                       run=quoted(folder.name)))  # fmt: skip
            return "left"
        if signals.count and asked is None:
            asked = time.monotonic()
            grace = runs.grace(folder)
            runs.ask_to_stop(folder)
            view.say(
                t(
                    "Stopping: the run saves first (at most {seconds:g} s). Press Ctrl-C again "
                    "to detach.",
                    seconds=grace,
                )
            )
        if signals.count > 1:
            view.say(t("Running in the background. Watch it: tunery runs follow {run}",
                       run=quoted(folder.name)))  # fmt: skip
            return "left"
        if asked is not None and time.monotonic() - asked > runs.grace(folder):
            view.say(t("It did not save in time and is being killed."))
            runs.end(folder)
    return "ended"


def conclude(folder: RunFolder, *, as_json: bool = False) -> int:
    """Show the outcome of a run and return its exit status."""
    came = runs.outcome(folder)
    error = runs.failure(came.state)
    if as_json:
        failed = {"error": error.as_dict()} if error else {}
        print_line({"type": "outcome", **came.as_dict(), **failed})
    elif error is not None:
        print_error(error.message, error.fix)
        prose(out, Text(t("Log: {file}", file=folder.worker_log), style="dim"))
    else:
        show(came)
    return error.exit_status if error else 0


def show(came: runs.Outcome) -> None:
    """Print an outcome: answers, diagnosis, file locations, next commands."""
    state = came.state
    head = Text.assemble(
        (words.status(state.status), f"bold {words.STATUS_STYLES.get(state.status, '')}"),
        f"  {state.name}",
        (f"  {words.seconds(state.duration_seconds)}", "dim"),
    )
    out.print()
    out.print(head)
    if state.status == "stopped":
        at = state.checkpoint_step
        saved = t("Saved at step {step}.", step=at) if at is not None else t("Nothing to save yet.")
        prose(out, saved)
    if state.status == "finished":
        _answers(came.answers)
        diagnosis = came.diagnosis
        prose(out, Text(diagnosis.words))
        if diagnosis.forgetting is not None:
            prose(out, _forgetting(diagnosis.forgetting))
        if diagnosis.advice:
            prose(out, Text(diagnosis.advice, style="dim"))
        out.print()
        _places(came)
    out.print(Text(t("Next:"), style="bold"))
    for command in came.commands:
        prose(out, Text(f"  {command}", style="cyan"))


def _answers(answers: list[runs.Answers]) -> None:
    if not answers:
        return
    if not out.is_terminal or out.width < COLUMNS_FROM:
        for answer in answers:
            prose(out, Text(t("Prompt: {text}", text=answer.prompt)))
            prose(out, Text(f"  {t('before')}: ") + _answer(answer.before, answer.before_cut))
            prose(out, Text(f"  {t('after')}: ") + _answer(answer.after, answer.after_cut))
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), header_style="bold")
        table.add_column(t("prompt"), ratio=2, overflow="fold")
        table.add_column(t("before"), ratio=3, overflow="fold", style="dim")
        table.add_column(t("after"), ratio=3, overflow="fold")
        for answer in answers:
            table.add_row(Text(answer.prompt), _answer(answer.before, answer.before_cut),
                          _answer(answer.after, answer.after_cut))  # fmt: skip
        out.print(table)
    if any(answer.before_cut or answer.after_cut for answer in answers):
        prose(out, Text(t("cut off: the answer reached evaluate.max_new_tokens; set it higher to "
                          "see more."), style="dim"))  # fmt: skip


def _answer(text: str, cut: bool) -> Text:
    return Text.assemble(text, (f" [{t('cut off')}]", "yellow") if cut else "")


def _forgetting(value: float) -> Text:
    if value > FORGETTING_REPORTED:
        said = t("Forgetting: {value} nats per token (answers to general prompts got worse)",
                 value=signed(value))  # fmt: skip
    elif value > FORGETTING_NOISE:
        said = t("Forgetting: {value} nats per token (answers to general prompts got slightly "
                 "worse)", value=signed(value))  # fmt: skip
    else:
        said = t("Forgetting: {value} nats per token (answers to general prompts did not get "
                 "worse)", value=signed(value))  # fmt: skip
    return Text(said, style="yellow" if value > FORGETTING_REPORTED else "")


def _places(came: runs.Outcome) -> None:
    labels = {
        "adapter": t("adapter"),
        "model": t("model"),
        "report": t("report"),
        "folder": t("folder"),
    }
    table = Table.grid(padding=(0, 2))
    for name, label in labels.items():
        if name in came.files:
            table.add_row(Text(label, style="dim"), Text(str(came.files[name]), overflow="fold"))
    out.print(table)


def state_line(folder: RunFolder) -> str:
    """The state of a run in one sentence."""
    state = derive(folder)
    line = f"{state.name}: {words.status(state.status)}"
    return t("{line} ({more})", line=line, more=state.reason) if state.reason else line
