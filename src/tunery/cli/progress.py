"""A progress bar for getting a model before a run: downloaded bytes, or a conversion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import assert_never

from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from tunery.cli.console import err
from tunery.cli.live import print_line
from tunery.cli.wrapping import prose
from tunery.env import human_bytes
from tunery.i18n import t
from tunery.models.progress import Progress, ProgressEvent


@contextmanager
def model_progress(*, as_json: bool) -> Iterator[Progress]:
    """Yield a listener that draws on stderr, or prints JSON lines on stdout.

    The bar appears with the first event: for a model that is already here there is none.
    """
    if as_json:
        yield lambda event: print_line({"type": "model", **event.as_dict()})
        return
    drawing = _Drawing()
    try:
        yield drawing.take
    finally:
        drawing.end()


class _Speed(ProgressColumn):
    """Bytes per second, in the same units as the bytes next to it."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{human_bytes(speed)}/s" if speed else "", "green")


class _Drawing:
    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._task = TaskID(0)
        self._converting = False

    def take(self, event: ProgressEvent) -> None:
        match event.kind:
            case "note":
                prose(err, event.text)
            case "done":
                self.end()
            case "convert":
                text = t("converting {model} (once, about half a minute)", model=event.model)
                columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
                if not self._converting:  # the event repeats while it continues
                    self._start(text, columns)
                self._converting = True
            case "plan" if event.done_bytes == event.total_bytes:
                self.end()
            case "plan":
                text = t("downloading {model}", model=event.model)
                self._start(text, _transfer_columns(), total=event.total_bytes)
                self._update(event)
            case "file":
                self._update(event)
            case "verify" if event.total_bytes:  # one file of several: the bar continues
                pass
            case "verify":
                text = t("checking {file}", file=event.file)
                self._start(text, (SpinnerColumn(), TextColumn("{task.description}")))
            case "wait":
                pass
            case other:
                assert_never(other)

    def _start(
        self, text: str, columns: Sequence[ProgressColumn], *, total: int | None = None
    ) -> None:
        self.end()
        self._bars = Bars(*columns, console=err, transient=True)
        self._bars.start()
        self._task = self._bars.add_task(escape(text), total=total)

    def _update(self, event: ProgressEvent) -> None:
        if self._bars is not None:
            self._bars.update(self._task, completed=event.done_bytes, total=event.total_bytes)

    def end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def _transfer_columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        _Speed(),
        TimeRemainingColumn(compact=True),
    )
