"""Views of a run: a live display in a terminal, plain lines in a pipe, JSON for programs.

A view only receives the run's events, so every terminal that follows a run shows the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tunery.cli.console import json_text
from tunery.cli.wrapping import prose
from tunery.i18n import t
from tunery.measures import Declared
from tunery.runs.status import why
from tunery.services import words
from tunery.workers.log import Event, number

PLAIN_SECONDS = 10.0
"""In a pipe, steps are printed at most this often; the first and the last one always are."""


class View(Protocol):
    """Shows the events of one run."""

    def show(self, events: Sequence[Event]) -> None:
        """Show new events; also called without any from time to time."""
        ...

    def say(self, text: str) -> None:
        """Show a sentence that is not an event."""
        ...

    def close(self) -> None:
        """End the display; its last content stays on the screen."""
        ...


class JsonView:
    """Every event as one JSON line on stdout."""

    def show(self, events: Sequence[Event]) -> None:
        """Print each event."""
        for event in events:
            print_line(event)

    def say(self, text: str) -> None:
        """Print a sentence as an object of a separate type."""
        print_line({"type": "note", "text": text})

    def close(self) -> None:
        """Do nothing."""


def print_line(value: Any) -> None:
    """Write one JSON value as one line to stdout and flush it."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


class PlainView:
    """Lines without colour or cursor movement, for pipes and log files.

    Args:
        console: Where to write.
        checked: Whether the warnings of the data check were already shown.
    """

    def __init__(self, console: Console, *, checked: bool = False) -> None:
        self._console = console
        self._checked = checked
        self._num_steps: int | None = None
        self._declared = Declared()
        self._shown = float("-inf")

    def show(self, events: Sequence[Event]) -> None:
        """Print the important part of each event."""
        for event in events:
            line = self._line(event)
            if line:
                self.say(line)

    def say(self, text: str) -> None:
        """Print a line."""
        prose(self._console, Text(text))
        self._console.file.flush()

    def close(self) -> None:
        """Do nothing."""

    def _line(self, event: Event) -> str | None:
        match event["type"]:
            case "plan":
                self._num_steps, self._declared = event["num_steps"], Declared.of(event)
                return words.plan_line(event)
            case "step":
                last = event["step"] == self._num_steps
                if not last and time.monotonic() - self._shown < PLAIN_SECONDS:
                    return None
                self._shown = time.monotonic()
                return words.step_line(event, self._num_steps, self._declared)
            case _:
                return words.event_line(event, self._declared, checked=self._checked)


class LiveView:
    """Phases, a progress bar and the latest figures, redrawn in place.

    Args:
        console: A terminal.
        checked: Whether the warnings of the data check were already shown.
    """

    def __init__(self, console: Console, *, checked: bool = False) -> None:
        self._console = console
        self._checked = checked
        self._num_steps: int | None = None
        self._declared = Declared()
        self._step: Event | None = None
        self._stepped = 0.0
        self._doing = ""
        self._phase: tuple[str, float, str] | None = None
        self._waiting = t("its worker is starting")
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._draw)
        self._live.start()

    def show(self, events: Sequence[Event]) -> None:
        """Draw the latest state; lines worth keeping are printed above it."""
        for event in events:
            self._take(event)

    def say(self, text: str) -> None:
        """Print a sentence above the display."""
        prose(self._console, Text(text, style="bold"))

    def close(self) -> None:
        """End the display."""
        self._phase, self._step, self._waiting = None, None, ""
        self._live.stop()

    def _take(self, event: Event) -> None:
        match event["type"]:
            case "status":
                self._waiting = why(event)
                if event["status"] == "running":
                    self._waiting = t("loading libraries")
            case "plan":
                self._num_steps, self._declared = event["num_steps"], Declared.of(event)
                self._print(words.plan_line(event), "dim")
            case "phase":
                self._on_phase(event)
            case "step":
                self._step, self._stepped, self._doing = event, time.monotonic(), ""
            case _:
                line = words.event_line(event, self._declared, checked=self._checked)
                if line:
                    self._print(line, _STYLES.get(event["type"], ""))

    def _on_phase(self, event: Event) -> None:
        self._waiting = ""
        match event["state"]:
            case "end":
                if event["phase"] == "train" and self._step is not None:
                    self._console.print(self._bar(self._step, ended=True))
                    self._step = None
                took = words.seconds(number(event.get("seconds")))
                line = Text.assemble(
                    ("✓ ", "green"), words.phase(event["phase"]), (f"  {took}", "dim")
                )
                self._console.print(line)
                self._phase = None
            case "doing":
                began = self._phase[1] if self._phase else time.monotonic()
                self._phase = (event["phase"], began, words.doing(event))
                self._doing = words.doing(event)
            case "progress":
                began = self._phase[1] if self._phase else time.monotonic()
                self._phase = (event["phase"], began, f"{event['done']:,}/{event['total']:,}")
            case _:
                self._phase = (event["phase"], time.monotonic(), "")

    def _print(self, line: str, style: str) -> None:
        prose(self._console, Text(line, style=style))

    def _draw(self) -> RenderableType:
        if self._step is not None and (self._phase is None or self._phase[0] == "train"):
            return self._bar(self._step)
        if self._phase is not None:
            name, began, progress = self._phase
            took = words.seconds(time.monotonic() - began)
            return self._spin(Text.assemble(words.phase(name), (f"  {progress}  {took}", "dim")))
        return self._spin(Text(self._waiting, style="yellow")) if self._waiting else Text("")

    def _spin(self, text: Text) -> Spinner:
        self._spinner.update(text=text)
        return self._spinner

    def _bar(self, event: Event, *, ended: bool = False) -> Group:
        """The bar and figures of a step; the last one stays on the screen."""
        total = self._num_steps or max(1, event["step"])
        share = min(1.0, event["step"] / total)
        top = Table.grid(padding=(0, 1))
        top.add_column(no_wrap=True)
        top.add_column(ratio=1)
        top.add_column(no_wrap=True)
        left = number(event.get("eta_seconds"))
        if left is not None:
            left -= time.monotonic() - self._stepped
        if ended:
            time_left = ""
        elif self._doing:
            time_left = f"{self._doing} ..."
        elif left is None or left < 1:  # an estimate that has run out says nothing
            time_left = ""
        else:
            time_left = t("{time} left", time=words.seconds(left))
        width = max(10, min(48, self._console.width - 34))
        top.add_row(
            Text(t("step {step}/{all}", step=event["step"], all=total), style="bold"),
            ProgressBar(total=total, completed=event["step"], width=width),
            Text(f"{share:4.0%}  {time_left}".rstrip()),
        )
        epoch = t("epoch {epoch:.2f}", epoch=number(event.get("epoch")) or 0.0)
        figures = Text("  ".join([*words.measures(event, self._declared), epoch]), overflow="fold")
        return Group(top, figures)


_STYLES = {
    "eval": "cyan",
    "sample": "dim",
    "checkpoint": "dim",
    "rows": "dim",
    "warning": "yellow",
    "anomaly": "bold red",
    "resumed": "bold",
}


def view_for(console: Console, *, as_json: bool = False, checked: bool = False) -> View:
    """Choose how to show a run: JSON lines, a live display on a terminal, else plain lines.

    Args:
        console: Where to write.
        as_json: Print all events as JSON lines.
        checked: Whether the warnings of the data check were already shown.
    """
    if as_json:
        return JsonView()
    kind = LiveView if console.is_terminal else PlainView
    return kind(console, checked=checked)
